package config

import (
	"path/filepath"

	"github.com/goccy/go-yaml"
)

// SocketOf returns the control socket that a configuration file names, even if the
// rest of the file cannot be used: the daemon may still run with what the file said
// before. Where the file does not tell, it is the default.
func SocketOf(path string) string {
	fallback := Default().Control.Socket
	data, folder, err := open(path)
	if err != nil {
		return fallback
	}
	var c struct {
		Control struct {
			Socket string `yaml:"socket"`
		} `yaml:"control"`
	}
	if err := yaml.Unmarshal(data, &c); err != nil || c.Control.Socket == "" {
		return fallback
	}
	if !filepath.IsAbs(c.Control.Socket) {
		return filepath.Join(folder, c.Control.Socket)
	}
	return c.Control.Socket
}
