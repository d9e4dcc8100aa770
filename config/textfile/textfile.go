// Package textfile reads text files that people hand over, whichever program wrote them.
//
// Editors and shells of Windows write byte order marks, UTF-16 and CRLF. [Decode] is
// the one place that knows them: files with passwords and secrets, PEM, configuration
// and keys all go through it.
package textfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"unicode/utf16"
)

// ErrUTF16 means that a file begins like UTF-16 and cannot be read as it.
var ErrUTF16 = errors.New("the file begins with the byte order mark of UTF-16 and is no whole UTF-16 text; save it as UTF-8")

// Decode returns the text as UTF-8 with LF as line end. A byte order mark decides
// what it was: UTF-8, UTF-16 LE (Windows PowerShell 5 writes it) or UTF-16 BE.
// Without one the bytes are left as they are, but for CRLF. It returns [ErrUTF16].
func Decode(data []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		data = data[3:]
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		return fromUTF16(data[2:], binary.LittleEndian)
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		return fromUTF16(data[2:], binary.BigEndian)
	}
	return bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), nil
}

func fromUTF16(data []byte, order binary.ByteOrder) ([]byte, error) {
	if len(data)%2 != 0 {
		return nil, ErrUTF16
	}
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = order.Uint16(data[2*i:])
	}
	for i := 0; i < len(units); i++ {
		if !utf16.IsSurrogate(rune(units[i])) {
			continue
		}
		if i+1 == len(units) || utf16.DecodeRune(rune(units[i]), rune(units[i+1])) == '\ufffd' {
			return nil, ErrUTF16
		}
		i++
	}
	return bytes.ReplaceAll([]byte(string(utf16.Decode(units))), []byte("\r\n"), []byte("\n")), nil
}
