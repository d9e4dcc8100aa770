package monitor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// otlp sends spans by OTLP over HTTP, as protobuf. The exporter of the OpenTelemetry
// project would bring gRPC along, which is 7 MB of program that nothing here calls:
// its request type lives in a package that also holds the gRPC service. TracesData has
// the same form on the wire.
// https://opentelemetry.io/docs/specs/otlp/#otlphttp
type otlp struct {
	endpoint string
	client   *http.Client
}

// maxAnswerBytes bounds what is read of a collector's answer.
const maxAnswerBytes = 64 << 10

// ExportSpans implements [sdktrace.SpanExporter].
func (o *otlp) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	// All spans are of one provider and one tracer.
	scope := &tracepb.ScopeSpans{Scope: &commonpb.InstrumentationScope{Name: spans[0].InstrumentationScope().Name}}
	for _, s := range spans {
		scope.Spans = append(scope.Spans, spanOf(s))
	}
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource:   &resourcepb.Resource{Attributes: attributesOf(spans[0].Resource().Attributes())},
		ScopeSpans: []*tracepb.ScopeSpans{scope},
	}}})
	if err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, o.endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	answer, err := o.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswerBytes)); err != nil {
		return fmt.Errorf("%s: %w", o.endpoint, err)
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s answers %s", o.endpoint, answer.Status)
	}
	return nil
}

// Shutdown implements [sdktrace.SpanExporter].
func (o *otlp) Shutdown(context.Context) error {
	o.client.CloseIdleConnections()
	return nil
}

func spanOf(s sdktrace.ReadOnlySpan) *tracepb.Span {
	traceID, id := s.SpanContext().TraceID(), s.SpanContext().SpanID()
	span := &tracepb.Span{
		TraceId: traceID[:], SpanId: id[:], Name: s.Name(), Kind: tracepb.Span_SPAN_KIND_INTERNAL,
		StartTimeUnixNano: uint64(s.StartTime().UnixNano()),
		EndTimeUnixNano:   uint64(s.EndTime().UnixNano()),
		Attributes:        attributesOf(s.Attributes()),
		Status:            statusOf(s.Status()),
	}
	if parent := s.Parent(); parent.SpanID() != (trace.SpanID{}) {
		parentID := parent.SpanID()
		span.ParentSpanId = parentID[:]
	}
	return span
}

// attributesOf takes texts only: there are no others.
func attributesOf(all []attribute.KeyValue) []*commonpb.KeyValue {
	list := make([]*commonpb.KeyValue, 0, len(all))
	for _, a := range all {
		list = append(list, &commonpb.KeyValue{
			Key: string(a.Key), Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: a.Value.AsString()}},
		})
	}
	return list
}

func statusOf(s sdktrace.Status) *tracepb.Status {
	if s.Code != codes.Error {
		return nil
	}
	return &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: s.Description}
}
