package deliver_test

import (
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/deliver"
)

// TestOutputCut has the beginning of what is kept in the middle of the password.
func TestOutputCut(t *testing.T) {
	const kept = 64 << 10
	block := "-----BEGIN X-----\n" + strings.Repeat("x\n", (kept-100)/2) + "-----END X-----\nthe end\n"
	half := kept - len(block)
	if half <= 0 || half >= 200 {
		t.Fatalf("the block is %d bytes, want a little less than %d", len(block), kept)
	}
	repeated := strings.Repeat("secret-", 40) // longer than what is left of it
	pair := newPair()
	pair.Password = repeated
	tail := deliver.Tail(pair, pair.Encoded["modern"], strings.Repeat("-", kept)+repeated+block)
	if strings.Contains(tail, "secret") || !strings.HasSuffix(tail, "the end\n") {
		t.Errorf("kept %q", tail)
	}
}

func TestOutput(t *testing.T) {
	pair := newPair()
	pair.Password = `p&ss"w'rd`
	for _, test := range []struct{ name, printed, want string }{
		{"plain", "one\ntwo", "one\ntwo"},
		{"password", `x p&ss"w'rd y`, "x [removed] y"},
		{"in JSON", `{"p":"p\u0026ss\"w'rd"}`, `{"p":"[removed]"}`},
		{"in a URL", `?p=p%26ss%22w%27rd&x`, "?p=[removed]&x"},
		{"in a shell", `'p&ss"w'\''rd'`, "'[removed]'"},
		{"block without end", "a\n-----BEGIN RSA PRIVATE KEY-----\nabc", "a\n[removed]"},
		{"block without beginning", "abc\n-----END RSA PRIVATE KEY-----\nb", "[removed]\nb"},
		{"binary", "a\n\xff\xfeabc\nb", "a\n[removed]\nb"},
		{"colours", "\x1b[31mred\x1b[0m\ttab\r", "[31mred[0m tab"},
		{"token", "Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiIsIng1dCI6Ik1uQ19WWmNBVGZNNXBP", "Bearer [removed]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := deliver.Tail(pair, pair.Encoded["modern"], test.printed); got != test.want {
				t.Errorf("kept %q, want %q", got, test.want)
			}
		})
	}
}
