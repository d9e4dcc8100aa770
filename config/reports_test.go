package config_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf16"

	"github.com/seed-f0abd057/rotate/config"
)

// TestB8Configuration has a file as Windows PowerShell 5 writes it.
func TestB8Configuration(t *testing.T) {
	for name, order := range map[string]binary.AppendByteOrder{"little endian": binary.LittleEndian, "big endian": binary.BigEndian} {
		t.Run(name, func(t *testing.T) {
			var data []byte
			for _, unit := range utf16.Encode([]rune("\ufeffworkers: 7\r\ncontrol:\r\n  socket: /run/ü.sock\r\n")) {
				data = order.AppendUint16(data, unit)
			}
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := config.LoadFile(path)
			if err != nil {
				t.Fatalf("LoadFile: %v", err)
			}
			if c.Workers != 7 || c.Control.Socket != "/run/ü.sock" {
				t.Errorf("workers %d, socket %q", c.Workers, c.Control.Socket)
			}
			if socket, ok := config.SocketOf(path); socket != "/run/ü.sock" || !ok {
				t.Errorf("SocketOf = %q, %t", socket, ok)
			}
		})
	}
}
