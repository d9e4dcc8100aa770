package graph

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Error is an answer of Graph or of the login host that refused.
type Error struct {
	StatusCode int
	// Code is Graph's, such as Authorization_RequestDenied, or AADSTS and a
	// number. Empty if the answer had none.
	Code string
	// Message is the first sentence or so of what the server said.
	Message string
	// Details are the codes of the details, in order.
	Details []string
	// RequestID is what Microsoft's support asks for; may be empty.
	RequestID string
	// RetryAfter is what the server asked for; zero: nothing.
	RetryAfter time.Duration
	// Date is the server's time; zero: unknown.
	Date time.Time

	// at is this host's time when the answer came.
	at time.Time
	// number of an AADSTS code; 0: none.
	number int
}

// Error gives status, code, message and request ID in one line.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", e.StatusCode)
	if e.Code != "" {
		b.WriteString(" " + e.Code)
	}
	b.WriteString(": " + e.Message)
	if e.RequestID != "" {
		b.WriteString(" (request-id " + e.RequestID + ")")
	}
	return b.String()
}

// skewed reports whether this host's clock and the server's differ so much
// that dates in tokens and certificates mean something else there. Entra
// accepts a difference of about 5 minutes.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes (AADSTS700024)
func (e *Error) skewed() bool {
	return !e.Date.IsZero() && e.Date.Sub(e.at).Abs() > 5*time.Minute
}

// newError reads an answer that refused. It never fails: what cannot be read
// leaves Code empty.
func newError(x *exchange, redact func(string) string) *Error {
	e := &Error{
		StatusCode: x.status, RequestID: requestID(x.header), RetryAfter: retryAfter(x.header, x.at),
		Date: x.date(), at: x.at,
	}
	var answer struct {
		Error json.RawMessage `json:"error"`
		// OData is the older form of an error; see [Error.readOData].
		OData       json.RawMessage `json:"odata.error"`
		Description string          `json:"error_description"`
		Numbers     []int           `json:"error_codes"`
	}
	if json.Unmarshal(x.body, &answer) == nil {
		switch {
		case answer.Description != "" || len(answer.Numbers) > 0:
			e.readLogin(answer.Error, answer.Description, answer.Numbers)
		case len(answer.OData) > 0:
			e.readOData(answer.OData)
		default:
			e.readGraph(answer.Error)
		}
	}
	e.Code = cleanCode(e.Code)
	e.Message = clean(redact(e.Message))
	if e.Message == "" {
		e.Message = http.StatusText(e.StatusCode)
		if e.Code == "" {
			e.Message += ", without the error text that Microsoft sends (does a proxy stand in between?)"
		}
	}
	return e
}

// readGraph reads {"error":{"code","message","details","innerError"}}.
// https://learn.microsoft.com/graph/errors#error-resource-type
func (e *Error) readGraph(raw json.RawMessage) {
	var answer struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Details []struct {
			Code string `json:"code"`
		} `json:"details"`
	}
	if json.Unmarshal(raw, &answer) != nil {
		return
	}
	e.Code, e.Message = answer.Code, answer.Message
	for _, d := range answer.Details {
		if code := cleanCode(d.Code); code != "" {
			e.Details = append(e.Details, code)
		}
	}
}

// readOData reads {"odata.error":{"code","message":{"value"}}}, the form of OData 3.
// https://www.odata.org/documentation/odata-version-3-0/json-verbose-format/
func (e *Error) readOData(raw json.RawMessage) {
	var answer struct {
		Code    string `json:"code"`
		Message struct {
			Value string `json:"value"`
		} `json:"message"`
	}
	if json.Unmarshal(raw, &answer) == nil {
		e.Code, e.Message = answer.Code, answer.Message.Value
	}
}

// readLogin reads {"error","error_description","error_codes"}. The description
// goes on with trace and correlation IDs, which are in the headers too.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes#handling-error-codes-in-your-application
func (e *Error) readLogin(raw json.RawMessage, description string, numbers []int) {
	number := regexp.MustCompile(`^AADSTS(\d{4,9})[: ]*`)
	if m := number.FindStringSubmatch(description); m != nil {
		// The digits are few enough for an int.
		e.number, _ = strconv.Atoi(m[1])
		description = description[len(m[0]):]
	}
	if len(numbers) > 0 {
		e.number = numbers[0]
	}
	description, _, _ = strings.Cut(description, "Trace ID:")
	e.Message = description
	if e.number != 0 {
		e.Code = "AADSTS" + strconv.Itoa(e.number)
		return
	}
	if json.Unmarshal(raw, &e.Code) != nil {
		e.Code = ""
	}
}

// maxMessageRunes keeps messages readable, whatever a server says.
const maxMessageRunes = 400

// clean makes one line of what a server or library said, without anything that
// looks like a token or an assertion.
func clean(text string) string {
	jwt := regexp.MustCompile(`eyJ[A-Za-z0-9_.+/=-]{5,}`)
	text = jwt.ReplaceAllString(strings.ToValidUTF8(text, "?"), "[removed]")
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || isControl(r) }), " ")
	if runes := []rune(text); len(runes) > maxMessageRunes {
		text = string(runes[:maxMessageRunes]) + "…"
	}
	return text
}

// cleanCode returns a code, or nothing for what cannot be one.
func cleanCode(code string) string {
	odd := func(r rune) bool {
		return r != '_' && r != '.' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}
	if len(code) > 80 || strings.ContainsFunc(code, odd) || strings.Contains(code, "eyJ") {
		return ""
	}
	return code
}
