//go:build e2e

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// maxBinaryBytes is how large the program may be as it is released.
const maxBinaryBytes = 48_000_000

// TestBinary builds the program as it is released and looks at its size, and at
// what makes it large: the root package of the SDK, which pulls in every area of
// Microsoft 365.
func TestBinary(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rotate")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", info.Size())
	if info.Size() > maxBinaryBytes {
		t.Errorf("the program has %d bytes, want at most %d", info.Size(), maxBinaryBytes)
	}
	deps, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(strings.Fields(string(deps)), "github.com/microsoftgraph/msgraph-sdk-go") {
		t.Error("the program imports the root package of the SDK; only its sub-packages are wanted")
	}
}

// TestMemory starts the daemon with a store that is full and in which nothing is
// due, and looks at what is resident soon after its first check.
func TestMemory(t *testing.T) {
	for apps, limit := range map[int]float64{1_000: 40, 100_000: 120} {
		t.Run(fmt.Sprint(apps), func(t *testing.T) {
			t.Parallel()
			program(t)
			f := newFull(t, apps)
			// The first start goes through all apps once, to build the due index.
			// The pages of the file that it read stay resident until the kernel
			// wants them back; what the program itself holds is small even then.
			if m := f.renewed(t); m.anonymous > limit {
				t.Errorf("after building the due index: %s, want at most %v anonymous", m, limit)
			}

			began := time.Now()
			daemon, ready := f.start(t)
			f.awaitCheck(t, began)
			t.Logf("ready after %s", ready.Round(time.Millisecond))
			eventually(t, patient, func() error { // what the start used is given back a little later
				m := memoryOf(t, daemon.Process.Pid)
				if m.rss > limit {
					return fmt.Errorf("%s, want at most %v", m, limit)
				}
				t.Log(m)
				return nil
			})
		})
	}
}
