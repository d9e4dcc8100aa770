package config

import (
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/seed-f0abd057/rotate/config/textfile"
)

// SocketOf returns the control socket that a configuration file names, or the
// default if it names none, although the file may be wrong otherwise: so that a
// running daemon can be asked what it refuses. Nothing else in the file is looked
// at. It returns false if the file cannot be read, or speaks of the socket in a
// way that cannot be told.
func SocketOf(path string) (string, bool) {
	data, folder, err := open("configuration", path)
	if err != nil || len(data) > maxBytes {
		return "", false
	}
	if decoded, err := textfile.Decode(data); err == nil {
		data = decoded
	}
	socket, ok := socketIn(string(data))
	if !ok || strings.ContainsAny(socket, "\x00\n") {
		return "", false
	}
	if socket == "" {
		return Default().Control.Socket, true
	}
	resolve(folder, []*string{&socket})
	return socket, true
}

var (
	controlLine = regexp.MustCompile(`^control\s*:\s*(.*)$`)
	socketLine  = regexp.MustCompile(`^\s+socket\s*:`)
	indented    = regexp.MustCompile(`^(\s|#|$)`)
)

// socketIn finds control.socket by its lines, because the rest of the text may be
// no YAML: the part "control" alone is decoded. Empty: it is not named.
func socketIn(text string) (string, bool) {
	var part []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case part == nil && controlLine.MatchString(line):
			part = []string{line}
		case part == nil:
			continue
		case controlLine.MatchString(line):
			return "", false // twice: which one is meant?
		case indented.MatchString(line):
			part = append(part, line)
		default:
			return decodeSocket(part, text)
		}
	}
	return decodeSocket(part, text)
}

func decodeSocket(part []string, text string) (string, bool) {
	if len(part) == 0 {
		// One document in braces, or a key in quotes, would hide it.
		return "", !strings.Contains(text, "socket")
	}
	var into struct {
		Control struct {
			Socket string `yaml:"socket"`
		} `yaml:"control"`
	}
	if err := yaml.Unmarshal([]byte(strings.Join(part, "\n")), &into); err == nil {
		return into.Control.Socket, true
	}
	// What is wrong may stand beside it.
	for _, line := range part[1:] {
		if !socketLine.MatchString(line) {
			continue
		}
		one := "control:\n" + line
		if err := yaml.Unmarshal([]byte(one), &into); err == nil && into.Control.Socket != "" {
			return into.Control.Socket, true
		}
	}
	return "", false
}
