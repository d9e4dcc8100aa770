package monitor

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Tracer sends a span for each step of a rotation, and one for the rotation when it
// has ended, to a collector. It is made by [NewTracer].
//
// A rotation may take weeks and outlive the process, so trace and parent are not kept
// in memory: their IDs are a hash of the rotation's, the same after each start.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	store    string
}

// TraceOptions of [NewTracer].
type TraceOptions struct {
	// Endpoint is the URL of a collector that takes OTLP over HTTP, such as
	// http://127.0.0.1:4318; without a path, /v1/traces is asked.
	Endpoint string
	// StoreID and Version of the program are attributes of all spans.
	StoreID, Version string
	// Logger gets what the collector does not take.
	Logger *slog.Logger
}

// exportTimeout bounds one message to the collector, and the last one at the end.
const exportTimeout = 5 * time.Second

// NewTracer makes a tracer. It asks nobody yet.
func NewTracer(o TraceOptions) (*Tracer, error) {
	endpoint, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("otlp endpoint: %w", err)
	}
	if endpoint.Path == "" || endpoint.Path == "/" {
		endpoint.Path = "/v1/traces"
	}
	exporter := &otlp{endpoint: endpoint.String(), client: &http.Client{
		Timeout:       exportTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&quiet{SpanExporter: exporter, log: o.Logger}, sdktrace.WithBatchTimeout(time.Second)),
		sdktrace.WithSampler(sdktrace.AlwaysSample()),
		sdktrace.WithIDGenerator(ids{}),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "rotate"),
			attribute.String("service.version", o.Version),
			attribute.String("rotate.store", o.StoreID),
		)),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/seed-f0abd057/rotate"), store: o.StoreID}, nil
}

// Close sends what is left, for at most five seconds.
func (t *Tracer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), exportTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("otlp: %w", err)
	}
	return nil
}

// StepEnded implements [rotator.Watcher]. It only puts the spans into a queue.
func (t *Tracer) StepEnded(_ context.Context, step rotator.StepReport) {
	if step.Rotation == "" {
		return // nothing was planned: there is no rotation to show
	}
	root := rootOf(t.store, step.Rotation)
	about := []attribute.KeyValue{
		attribute.String("rotate.app", step.App),
		attribute.String("rotate.tenant", step.Tenant),
		attribute.String("rotate.rotation", step.Rotation),
		attribute.String("rotate.mode", string(step.Mode)),
		attribute.String("rotate.phase", string(step.Phase)),
	}
	child := trace.ContextWithRemoteSpanContext(context.Background(), root)
	_, span := t.tracer.Start(child, step.Step, trace.WithTimestamp(step.BeganAt), trace.WithAttributes(about...))
	if step.WaitingFor != "" {
		span.SetAttributes(attribute.String("rotate.waiting_for", step.WaitingFor))
	}
	if f := step.Failure; f != nil {
		// Class and reason are words of ours; the message has more than a trace needs.
		span.SetAttributes(attribute.String("rotate.class", string(f.Class)), attribute.String("rotate.reason", string(f.Reason)))
		span.SetStatus(codes.Error, string(f.Class))
	}
	span.End(trace.WithTimestamp(step.EndedAt))
	if !step.Phase.IsEnd() {
		return
	}
	_, whole := t.tracer.Start(context.WithValue(context.Background(), rootKey{}, root), "rotation",
		trace.WithNewRoot(), trace.WithTimestamp(step.RotationStartedAt), trace.WithAttributes(about...))
	if step.Phase == rotator.PhaseRolledBack {
		whole.SetStatus(codes.Error, string(step.Phase))
	}
	whole.End(trace.WithTimestamp(step.EndedAt))
}

// rootOf names the trace and the parent span of a rotation.
func rootOf(store, rotation string) trace.SpanContext {
	sum := sha256.Sum256([]byte(store + "/" + rotation))
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(sum[:16]), SpanID: trace.SpanID(sum[16:24]), TraceFlags: trace.FlagsSampled,
	})
}

// rootKey is the key of a context that holds the IDs of a parent span.
type rootKey struct{}

// ids gives parents the IDs that are in the context, and all others random ones.
type ids struct{}

// NewIDs implements [sdktrace.IDGenerator].
func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if root, ok := ctx.Value(rootKey{}).(trace.SpanContext); ok {
		return root.TraceID(), root.SpanID()
	}
	var id trace.TraceID
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the program instead
	return id, ids{}.NewSpanID(ctx, id)
}

// NewSpanID implements [sdktrace.IDGenerator].
func (ids) NewSpanID(context.Context, trace.TraceID) trace.SpanID {
	var id trace.SpanID
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the program instead
	return id
}

// quiet is an exporter whose failures go to our log, once for each reason: the SDK
// would print them to stderr. It is called by one goroutine.
type quiet struct {
	sdktrace.SpanExporter
	log  *slog.Logger
	last string
}

// ExportSpans implements [sdktrace.SpanExporter].
func (q *quiet) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := q.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err == nil:
		q.last = ""
	case err.Error() != q.last:
		q.last = err.Error()
		q.log.WarnContext(ctx, "traces not sent", "spans", len(spans), "err", err)
	}
	return nil
}
