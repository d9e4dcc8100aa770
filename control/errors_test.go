package control_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
)

// overTheWire marshals an error and reads it back.
func overTheWire(t *testing.T, err error) (*control.Error, int) {
	t.Helper()
	wire, status := control.WireError(err)
	data, marshalErr := json.Marshal(wire)
	if marshalErr != nil {
		t.Fatal(marshalErr)
	}
	var back control.Error
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	return &back, status
}

func TestSentinelsSurvive(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
	}{
		{rotator.ErrNotFound, http.StatusNotFound},
		{rotator.ErrExists, http.StatusConflict},
		{rotator.ErrRotating, http.StatusConflict},
		{rotator.ErrUsage, http.StatusBadRequest},
		{rotator.ErrRefused, http.StatusUnprocessableEntity},
		{rotator.ErrCannotTell, http.StatusUnprocessableEntity},
		{control.ErrForbidden, http.StatusForbidden},
		{control.ErrTooLarge, http.StatusRequestEntityTooLarge},
		{control.ErrUnknownRoute, http.StatusNotFound},
	} {
		back, status := overTheWire(t, fmt.Errorf("app x: %w", test.err))
		if !errors.Is(back, test.err) || status != test.status || back.Error() != "app x: "+test.err.Error() {
			t.Errorf("%v came back as %d %+v, want status %d and the same sentinel and text", test.err, status, back, test.status)
		}
	}
	if back, status := overTheWire(t, errors.New("disk full")); status != http.StatusInternalServerError || errors.Unwrap(back) != nil || back.Message != "disk full" {
		t.Errorf("another error came back as %d %+v", status, back)
	}
}

func TestFailureSurvives(t *testing.T) {
	failure := &rotator.Failure{
		Class: rotator.ClassFix, Reason: rotator.ReasonPolicy, Message: "the policy allows 90d", Next: "ask for more",
		RetryAfter: 90 * time.Second, LongestLifetime: 90 * 24 * time.Hour,
	}
	back, status := overTheWire(t, fmt.Errorf("app x: %w", failure))
	if status != http.StatusBadGateway {
		t.Errorf("status %d, want 502", status)
	}
	got, ok := errors.AsType[*rotator.Failure](back)
	if !ok {
		t.Fatalf("%v is no Failure", back)
	}
	want := *failure
	want.Message = "app x: the policy allows 90d"
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("Failure (-want +got):\n%s", diff)
	}
}

func TestJoinedErrorsAreSplit(t *testing.T) {
	wire := control.WireErrors(errors.Join(
		fmt.Errorf("app a: %w", rotator.ErrRefused),
		errors.Join(errors.New("app b: disk"), errors.New("app c: disk"))))
	var got []string
	for _, e := range wire {
		got = append(got, e.Code+" "+e.Message)
	}
	want := []string{"refused app a: refused", "internal app b: disk", "internal app c: disk"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if none := control.WireErrors(nil); none == nil || len(none) != 0 {
		t.Errorf("no error became %#v, want an empty list", none)
	}
}
