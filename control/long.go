package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Progress says how far long work has come.
type Progress struct {
	// What is being done, in plain words; Done of Total of it. Total is 0 where nobody
	// can tell.
	What  string `json:"what"`
	Done  uint64 `json:"done"`
	Total uint64 `json:"total"`
}

// longLine is one line of the answer to long work: how far it is, and once, last, the
// result or why there is none. Without that line the answer was cut off.
type longLine struct {
	Progress *Progress       `json:"progress,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    *Error          `json:"error,omitempty"`
}

// A reporter passes on how far work is.
type reporter func(what string, done, total uint64)

// long makes a stream of work that grows with the store: it takes as long as it takes,
// says how far it is, and ends when the reader goes away or stop is done.
func long(work func(c call, report reporter) (any, error)) func(context.Context, http.ResponseWriter, *http.Request) {
	return func(stop context.Context, w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(stop, cancel)()
		lines := &longAnswer{w: w}
		result, err := work(call{r.WithContext(ctx), peerOf(ctx).by, http.MaxBytesReader(w, r.Body, maxBodyBytes)}, lines.report) //nolint:contextcheck // the request's context; stop only ends it
		var line longLine
		if err == nil {
			line.Result, err = json.Marshal(result)
		}
		if err != nil {
			if !lines.begun {
				writeError(w, err)
				return
			}
			if stop.Err() != nil {
				err = fmt.Errorf("%w: the daemon stops", ErrEnded)
			}
			line = longLine{Error: errorOf(err)}
		}
		lines.write(line)
	}
}

// longAnswer writes the lines. Before the first one an error has a status of its own.
type longAnswer struct {
	w     http.ResponseWriter
	begun bool
}

func (a *longAnswer) report(what string, done, total uint64) {
	a.write(longLine{Progress: &Progress{what, done, total}})
	_ = http.NewResponseController(a.w).Flush() // the reader has gone
}

func (a *longAnswer) write(line longLine) {
	if !a.begun {
		a.w.Header().Set("Content-Type", "application/jsonl")
		a.begun = true
	}
	_ = json.NewEncoder(a.w).Encode(line) // the reader has gone
}

// long asks for long work and reads its result into out. report, unless it is nil, is
// called with how far it is.
func (c *Client) long(ctx context.Context, path string, out any, report func(Progress)) error {
	response, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was read
	lines := bufio.NewReader(response.Body)
	for {
		line, err := nextLine(ctx, lines, report)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if line.Error != nil {
			return line.Error
		}
		if line.Result != nil {
			return json.Unmarshal(line.Result, out)
		}
	}
}

// nextLine reads one line; how far the work is goes to report.
func nextLine(ctx context.Context, r *bufio.Reader, report func(Progress)) (longLine, error) {
	text, err := r.ReadBytes('\n')
	switch {
	case ctx.Err() != nil:
		return longLine{}, ctx.Err()
	case errors.Is(err, io.EOF):
		return longLine{}, fmt.Errorf("%w before it was done", ErrEnded)
	case err != nil:
		return longLine{}, cutOff(err)
	}
	var line longLine
	if err := json.Unmarshal(text, &line); err != nil {
		return longLine{}, err
	}
	if line.Progress != nil && report != nil {
		report(*line.Progress)
	}
	return line, nil
}
