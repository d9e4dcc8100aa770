package notify

import (
	"net"
)

// bareLines is a connection to a mail server on which an answer that is a code alone
// ("250") reads as one with an empty text ("250 "). RFC 5321 4.2 lets servers leave the
// space out; net/textproto waits for ever for a better line. It ends with the first byte
// of TLS: what is encrypted stays as it is.
type bareLines struct {
	net.Conn

	// line is the beginning of the line that is being read, at most four bytes.
	line []byte
	// ready was read and not yet asked for.
	ready []byte
	// encrypted tells that TLS began.
	encrypted bool
}

// handshake is the first byte of a TLS record that begins a connection (RFC 8446 5.1).
const handshake = 0x16

// Write implements [net.Conn].
func (c *bareLines) Write(p []byte) (int, error) {
	if len(p) > 0 && p[0] == handshake {
		c.encrypted = true
	}
	return c.Conn.Write(p)
}

// Read implements [net.Conn].
func (c *bareLines) Read(p []byte) (int, error) {
	if len(c.ready) == 0 {
		if c.encrypted {
			return c.Conn.Read(p)
		}
		chunk := make([]byte, max(len(p)/2, 1)) // each byte may become two
		n, err := c.Conn.Read(chunk)
		c.add(chunk[:n])
		if len(c.ready) == 0 {
			return 0, err
		}
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

func (c *bareLines) add(chunk []byte) {
	for _, b := range chunk {
		if (b == '\r' || b == '\n') && isCode(c.line) {
			c.ready = append(c.ready, ' ')
			c.line = append(c.line, ' ')
		}
		c.ready = append(c.ready, b)
		switch {
		case b == '\n':
			c.line = c.line[:0]
		case len(c.line) < 4:
			c.line = append(c.line, b)
		}
	}
}

func isCode(line []byte) bool {
	if len(line) != 3 {
		return false
	}
	for _, b := range line {
		if b < '0' || b > '9' {
			return false
		}
	}
	return true
}
