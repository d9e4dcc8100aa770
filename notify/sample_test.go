package notify_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestDocumented finds every kind of event in docs/alerts.md, in the table and with
// the example that "rotate notify show" prints.
func TestDocumented(t *testing.T) {
	data, err := os.ReadFile("../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, kind := range rotator.EventKinds() {
		if !strings.Contains(text, "\n| `"+string(kind)+"` | ") {
			t.Errorf("%s is not in the table", kind)
		}
		m, ok := notify.Sample(kind)
		if !ok || m.Events[0].Kind != kind || m.Events[0].Summary == "" {
			t.Errorf("there is no sample of %s", kind)
			continue
		}
		_, example, ok := strings.Cut(text, "\n`"+string(kind)+"`:\n\n```json\n")
		example, _, closed := strings.Cut(example, "\n```")
		var got, want any
		sample, err := json.Marshal(m.Events[0])
		if err != nil || json.Unmarshal(sample, &want) != nil || !ok || !closed || json.Unmarshal([]byte(example), &got) != nil {
			t.Errorf("%s has no example of JSON (%v)", kind, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("example of %s (-sample +docs):\n%s", kind, diff)
		}
	}
	if _, ok := notify.Sample("nothing"); ok {
		t.Error("there is a sample of a kind that does not exist")
	}
}
