package page_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/page"
	"github.com/seed-f0abd057/rotate/rotator"
)

// handing is a source in which a pair waits to be brought to its consumer.
type handing struct {
	*fixed
	handOff rotator.HandOff
}

func (h handing) HandOff(context.Context, string) (rotator.HandOff, error) { return h.handOff, nil }

// TestHandOff shows the steps for the consumer, the deadline, and what the person at
// the host types.
func TestHandOff(t *testing.T) {
	a := inRotation("mike")
	a.App.HandOff = rotator.HandOffText{Consumer: "CloudM", Steps: []string{"Upload {file} for {client_id} of {tenant_id}."}}
	a.App.Owner = "backup-team@contoso.example"
	deadline := time.Now().UTC().Add(10 * day)
	h := rotator.HandOff{App: a.App, Rotation: *a.Rotation, Credential: a.Rotation.New, Deadline: deadline}
	show := func(h rotator.HandOff) string {
		t.Helper()
		s := serve(t, &page.Server{Source: handing{newFixed(a), h}, TenantIDs: map[string]string{"contoso": "99999999-0000-0000-0000-000000000001"}})
		return s.get("/apps/mike/handoff")
	}
	body := show(h)
	for what, want := range map[string]string{
		"the deadline":           deadline.Format("2 January 2006"),
		"the consumer":           "CloudM",
		"the step":               "11111111-0000-0000-0000-000000000000 of 99999999-0000-0000-0000-000000000001.",
		"the thumbprint":         h.Credential.ThumbprintSHA1,
		"the owner":              "backup-team@contoso.example",
		"how to fetch it":        "rotate handoff mike --out DIR",
		"how to confirm it":      "rotate confirm mike</code>",
		"that it needs somebody": `class="answer alarm"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("it lacks %s: %q", what, want)
		}
	}
	if strings.Contains(body, "<form") || strings.Contains(body, "<button") {
		t.Error("the page offers to change something")
	}

	h.Deadline = time.Now().Add(-day)
	if body := show(h); !strings.Contains(body, "That should have been done before") {
		t.Error("that it is late is not said")
	}
	h.Deadline, h.Confirmed = deadline, true
	if body := show(h); !strings.Contains(body, "Done: the consumer uses the new key.") || strings.Contains(body, `class="answer alarm"`) {
		t.Error("that it is done is not said")
	}
	idle := safeApp("idle", 90*day)
	if body := serve(t, &page.Server{Source: newFixed(idle)}).get("/apps/idle/handoff"); !strings.Contains(body, "Nothing waits to be handed over.") {
		t.Error("that nothing waits is not said")
	}
}
