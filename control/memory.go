package control

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// Transport calls a [Server] in the same process, streams included. It is for
// commands that run without a daemon.
type Transport struct {
	handler http.Handler
	by      string
	stop    context.CancelFunc
	running sync.WaitGroup
}

// Transport returns a way to the server without a socket; by is who asks, for
// the audit trail. Requests outlive ctx until [Transport.Close]; each has a
// context of its own.
func (s *Server) Transport(ctx context.Context, by string) *Transport {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	return &Transport{handler: s.handler(ctx), by: by, stop: stop}
}

// Close ends the streams and waits for all requests. It is harmless to call it
// twice; no request may follow.
func (t *Transport) Close() error {
	t.stop()
	t.running.Wait()
	return nil
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(withPeer(req.Context(), peer{by: t.by, local: true}))
	in := req.Clone(ctx)
	in.RequestURI = req.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	read, write := io.Pipe()
	w := &answer{header: http.Header{}, body: write, ready: make(chan struct{})}
	t.running.Go(func() {
		defer cancel()
		defer func() { _ = in.Body.Close() }() // it was read as far as it is needed
		t.handler.ServeHTTP(w, in)
		w.WriteHeader(http.StatusOK)
		_ = write.Close() // never fails
	})
	select {
	case <-w.ready:
	case <-req.Context().Done(): // not ctx, which ends with a handler that is done
		// The handler sees it too; nobody reads its answer.
		err := req.Context().Err()
		_ = read.CloseWithError(err) // never fails
		return nil, err
	}
	// As over a socket, who gives up reads no more, also where the handler goes on.
	attached := context.AfterFunc(req.Context(), func() {
		_ = read.CloseWithError(req.Context().Err()) // never fails
	})
	return &http.Response{
		Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: &body{read, func() { attached(); cancel() }}, ContentLength: -1, Request: req,
	}, nil
}

// body cancels the request when its reader is closed.
type body struct {
	*io.PipeReader
	cancel func()
}

func (b *body) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

// An answer is the handler's side of one answer.
type answer struct {
	header http.Header
	body   *io.PipeWriter
	ready  chan struct{} // closed when status and sent are set
	once   sync.Once
	status int
	sent   http.Header
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	a.once.Do(func() {
		a.status, a.sent = status, a.header.Clone()
		close(a.ready)
	})
}

func (a *answer) Write(data []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(data)
}

// Flush does nothing more than a write does: the pipe holds nothing back.
func (a *answer) Flush() { a.WriteHeader(http.StatusOK) }
