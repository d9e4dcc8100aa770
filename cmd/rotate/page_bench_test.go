package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// BenchmarkPage asks the daemon for the overview of a store that is full, one visit
// after the other, and for the first time after its start.
func BenchmarkPage(b *testing.B) {
	for _, apps := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("apps=%d", apps), func(b *testing.B) {
			if _, err := buildProgram(); err != nil {
				b.Fatal(err)
			}
			f := newFull(b, apps)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			address := l.Addr().String()
			path := filepath.Join(f.dir, "config.yaml")
			text, err := os.ReadFile(path)
			if err != nil {
				b.Fatal(err)
			}
			if err := os.WriteFile(path, append(text, fmt.Sprintf("page: {listen: %q}\n", address)...), 0o600); err != nil {
				b.Fatal(err)
			}
			_ = l.Close()
			began := time.Now()
			f.start(b)
			f.awaitCheck(b, began)
			visit := func(to string) (time.Duration, int) {
				began := time.Now()
				answer, err := http.Get("http://" + address + to)
				if err != nil {
					b.Fatal(err)
				}
				defer answer.Body.Close()
				n, err := io.Copy(io.Discard, answer.Body)
				if err != nil || answer.StatusCode != http.StatusOK {
					b.Fatalf("%s: %s, %v", to, answer.Status, err)
				}
				return time.Since(began), int(n)
			}
			first, size := visit("/")
			pace := time.NewTicker(60 * time.Millisecond) // as many as one address may ask for
			defer pace.Stop()
			var took []time.Duration
			for b.Loop() {
				<-pace.C
				d, _ := visit("/")
				took = append(took, d)
			}
			slices.Sort(took)
			searched, _ := visit("/?q=app-0000")
			_, style := visit("/style.css")
			_, script := visit("/page.js")
			b.ReportMetric(float64(first.Microseconds())/1000, "ms-first")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
			b.ReportMetric(float64(searched.Microseconds())/1000, "ms-search")
			b.ReportMetric(float64(size+style+script)/1000, "kB")
		})
	}
}
