package config_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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

// TestB6SkippedHour has schedules that name a time which clocks leave out on 28 March
// 2027 in Berlin.
func TestB6SkippedHour(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ cron, from, want string }{
		{"30 2 * * *", "2027-03-27 20:00", "2027-03-28 03:00"},
		{"30 2 * * *", "2027-03-28 03:00", "2027-03-29 02:30"}, // once
		{"30 2 * * 0", "2027-03-27 20:00", "2027-03-28 03:00"},
		{"0 2 * * *", "2027-03-27 20:00", "2027-03-28 03:00"},
		{"0 2 * * *", "2027-03-26 20:00", "2027-03-27 02:00"},
		{"30 2 28 3 *", "2027-01-01 20:00", "2027-03-28 03:00"},
		{"0 3 * * *", "2027-03-27 20:00", "2027-03-28 03:00"},
		{"59 1 * * *", "2027-03-28 01:59", "2027-03-29 01:59"},
		{"30 * * * *", "2027-03-28 01:45", "2027-03-28 03:30"}, // every hour: nothing is missed
		{"30 2 * * *", "2027-10-30 20:00", "2027-10-31 02:30"},
		{"30 2 29 2 *", "2027-03-01 00:00", "2028-02-29 02:30"},
	} {
		s, err := config.Window{Cron: tt.cron, Zone: "Europe/Berlin"}.Schedule()
		if err != nil {
			t.Fatal(err)
		}
		from, err := time.ParseInLocation("2006-01-02 15:04", tt.from, zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Next(from).In(zone).Format("2006-01-02 15:04"); got != tt.want {
			t.Errorf("%q after %s opens at %s, want %s", tt.cron, tt.from, got, tt.want)
		}
	}
}

// TestB13Sunday has 7 for Sunday, as crontab(5) has.
func TestB13Sunday(t *testing.T) {
	for seven, zero := range map[string]string{
		"0 2 * * 7": "0 2 * * 0", "0 2 * * 5-7": "0 2 * * 5,6,0", "0 2 * * 1,7": "0 2 * * 1,0", "0 2 * * 1-7": "0 2 * * *",
		"0 2 * * 1-7/2": "0 2 * * 1,3,5,0", "CRON_TZ=Europe/Berlin 0 2 * * 7": "CRON_TZ=Europe/Berlin 0 2 * * 0", "0 2 7 * *": "0 2 7 * *",
	} {
		a, err := config.ParseSchedule(seven)
		if err != nil {
			t.Errorf("%q: %v", seven, err)
			continue
		}
		if a.String() != seven {
			t.Errorf("%q is shown as %q", seven, a)
		}
		b, err := config.ParseSchedule(zero)
		if err != nil {
			t.Fatal(err)
		}
		x := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
		y := x
		for range 20 {
			if x, y = a.Next(x), b.Next(y); !x.Equal(y) {
				t.Fatalf("%q comes at %v, %q at %v", seven, x, zero, y)
			}
		}
	}
	for _, wrong := range []string{"0 2 * * 8", "0 2 * * 7-9", "0 2 * * 77", "0 2 * * 7/2"} {
		if _, err := config.ParseSchedule(wrong); err == nil {
			t.Errorf("%q is accepted", wrong)
		}
	}
}

// TestS17Depth has blocks nested by the thousand, which the parser needs seconds for.
func TestS17Depth(t *testing.T) {
	blocks := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(strings.Repeat(" ", i) + "a:\n")
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"mappings": blocks(3000), "dashes": strings.Repeat("- ", 3000) + "a", "a list in a list": "a:\n" + strings.Repeat("  ", 1) + strings.Repeat("- ", 200) + "b",
	} {
		began := time.Now()
		_, err := config.Load(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), "nested more than 100 deep") {
			t.Errorf("%s: Load = %.200v", name, err)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("%s: it took %v", name, took)
		}
	}
	if _, err := config.Load(strings.NewReader(blocks(90))); err == nil || strings.Contains(err.Error(), "nested more") {
		t.Errorf("90 blocks: %.200v", err)
	}
}

// TestB9DidYouMean has keys that are nearly right, and a tenant given as a domain.
func TestB9DidYouMean(t *testing.T) {
	for text, want := range map[string]string{
		"wrokers: 3\n":                          "did you mean workers?",
		"tenant: []\n":                          "did you mean tenants?",
		"store: {identiy_file: x}\n":            "did you mean identity_file?",
		"defaults: {renew_befor: 3d}\n":         "did you mean renew_before?",
		"tenants: [{name: a, id: contoso.com}]": "openid-configuration",
	} {
		if _, err := config.Load(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := config.Load(strings.NewReader("colour: red\n")); err == nil || strings.Contains(err.Error(), "did you mean") {
		t.Errorf("what is like nothing: %v", err)
	}
}
