package monitor_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/seed-f0abd057/rotate/monitor"
	"github.com/seed-f0abd057/rotate/rotator"
)

// receiver is a collector that takes OTLP over HTTP.
type receiver struct {
	mu    sync.Mutex
	spans []*spans.Span
	raw   bytes.Buffer
	paths []string
	fault string
}

func (c *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	data, _ := io.ReadAll(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	var message collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(data, &message); err != nil {
		c.fault = err.Error()
	}
	c.raw.Write(data)
	c.paths = append(c.paths, r.Method+" "+r.URL.Path)
	for _, resource := range message.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func attributes(s *spans.Span) map[string]string {
	all := map[string]string{}
	for _, a := range s.GetAttributes() {
		all[a.GetKey()] = a.GetValue().GetStringValue()
	}
	return all
}

// TestTrace sends the steps of one rotation, with a start of the program in between.
func TestTrace(t *testing.T) {
	c := &receiver{}
	server := httptest.NewServer(c)
	defer server.Close()
	began := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	step := func(name string, phase rotator.Phase, after time.Duration, f *rotator.Failure, waiting string) rotator.StepReport {
		return rotator.StepReport{
			App: "app", Tenant: "contoso", Rotation: "r1", Mode: rotator.ModeSelf, Step: name, Phase: phase, Failure: f,
			WaitingFor: waiting, RotationStartedAt: began, BeganAt: began.Add(after), EndedAt: began.Add(after + time.Second),
		}
	}
	refused := &rotator.Failure{Class: rotator.ClassFix, Reason: rotator.ReasonForbidden, Message: "geheim", Next: "geheim"}
	for _, part := range [][]rotator.StepReport{
		{
			step("plan", rotator.PhasePlanned, 0, nil, ""),
			step("upload", rotator.PhasePlanned, time.Minute, refused, ""),
			{App: "other", Step: "plan", Failure: refused}, // nothing was planned
		},
		{
			step("upload", rotator.PhaseUploaded, time.Hour, nil, ""),
			step("prove", rotator.PhaseUploaded, 2*time.Hour, nil, rotator.WaitingProof),
			step("retire", rotator.PhaseRetired, 24*time.Hour, nil, ""),
		},
	} {
		tracer, err := monitor.NewTracer(monitor.TraceOptions{
			Endpoint: server.URL, StoreID: "0a1b2c3d", Version: "1.2.3", Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range part {
			monitor.Watchers{tracer}.StepEnded(t.Context(), s)
		}
		if err := tracer.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if c.fault != "" || len(c.paths) == 0 || slices.ContainsFunc(c.paths, func(p string) bool { return p != "POST /v1/traces" }) {
		t.Errorf("requests %q, fault %q", c.paths, c.fault)
	}
	var names []string
	var parent *spans.Span
	for _, s := range c.spans {
		names = append(names, s.GetName())
		if s.GetName() == "rotation" {
			parent = s
		}
	}
	if want := []string{"plan", "upload", "upload", "prove", "retire", "rotation"}; !slices.Equal(names, want) {
		t.Fatalf("spans %q, want %q", names, want)
	}
	if len(parent.GetParentSpanId()) != 0 {
		t.Errorf("the rotation has a parent: %x", parent.GetParentSpanId())
	}
	if got := time.Duration(parent.GetEndTimeUnixNano() - parent.GetStartTimeUnixNano()); got != 24*time.Hour+time.Second {
		t.Errorf("the rotation took %s", got)
	}
	seen := map[string]bool{}
	for _, s := range c.spans {
		if !bytes.Equal(s.GetTraceId(), parent.GetTraceId()) {
			t.Errorf("%s is in another trace", s.GetName())
		}
		if s != parent && !bytes.Equal(s.GetParentSpanId(), parent.GetSpanId()) {
			t.Errorf("%s has another parent than the rotation", s.GetName())
		}
		if id := hex.EncodeToString(s.GetSpanId()); seen[id] {
			t.Errorf("the span ID %s is there twice", id)
		} else {
			seen[id] = true
		}
		if a := attributes(s); a["rotate.app"] != "app" || a["rotate.tenant"] != "contoso" || a["rotate.rotation"] != "r1" {
			t.Errorf("%s: attributes %q", s.GetName(), a)
		}
	}
	failed, waits := attributes(c.spans[1]), attributes(c.spans[3])
	if c.spans[1].GetStatus().GetCode() != spans.Status_STATUS_CODE_ERROR || failed["rotate.class"] != "fix" || failed["rotate.reason"] != "forbidden" {
		t.Errorf("the failed step: %v %q", c.spans[1].GetStatus(), failed)
	}
	if c.spans[2].GetStatus().GetCode() == spans.Status_STATUS_CODE_ERROR || waits["rotate.waiting_for"] != rotator.WaitingProof {
		t.Errorf("steps that did not fail: %v %q", c.spans[2].GetStatus(), waits)
	}
	if strings.Contains(c.raw.String(), "geheim") {
		t.Error("a message is in the trace")
	}
}

// TestTraceUnreachable loses traces, and nothing else.
func TestTraceUnreachable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	var log bytes.Buffer
	tracer, err := monitor.NewTracer(monitor.TraceOptions{
		Endpoint: server.URL, StoreID: "0a1b2c3d", Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	tracer.StepEnded(t.Context(), rotator.StepReport{App: "app", Rotation: "r1", Step: "plan", BeganAt: time.Now(), EndedAt: time.Now()})
	if err := tracer.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if !strings.Contains(log.String(), "traces not sent") || !strings.Contains(log.String(), "404") {
		t.Errorf("logged: %s", log.String())
	}
}
