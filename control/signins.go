package control

import (
	"context"
	"net/http"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// SignIns are an app's last sign-ins, by credential.
type SignIns struct {
	Credentials []UsedCredential `json:"credentials"`
}

// UsedCredential is a credential of an app with its last sign-ins.
type UsedCredential struct {
	// Role is current, next, previous, former, or foreign for what is not ours.
	Role string `json:"role"`
	// KeyID is null where nobody could tell it, and for sign-ins that were refused:
	// the log names no credential then.
	KeyID *string `json:"key_id"`
	// ThumbprintSHA1 is upper-case hex; null for a secret.
	ThumbprintSHA1 *string `json:"thumbprint_sha1"`
	// SignIns are the newest, newest first, at most 5.
	SignIns []SignIn `json:"sign_ins"`
}

// SignIn is one sign-in as the log shows it.
type SignIn struct {
	At time.Time `json:"at"`
	// Own tells that rotate made it, not the consumer.
	Own bool `json:"own"`
	// ErrorCode is the AADSTS number of one that got no token; 0: it got one.
	ErrorCode int    `json:"error_code"`
	Address   string `json:"address,omitempty"`
	Resource  string `json:"resource,omitempty"`
	// RequestID and CorrelationID find it in the Entra portal.
	RequestID     string `json:"request_id"`
	CorrelationID string `json:"correlation_id"`
}

func signInsOf(list []rotator.UsedCredential) SignIns {
	answer := SignIns{Credentials: []UsedCredential{}}
	for _, c := range list {
		wire := UsedCredential{Role: c.Role, KeyID: present(string(c.KeyID)), ThumbprintSHA1: present(c.ThumbprintSHA1), SignIns: []SignIn{}}
		for _, s := range c.Last {
			wire.SignIns = append(wire.SignIns, SignIn{
				At: s.At.UTC(), Own: s.Own, ErrorCode: s.ErrorCode, Address: s.Address, Resource: s.Resource,
				RequestID: s.ID, CorrelationID: s.CorrelationID,
			})
		}
		answer.Credentials = append(answer.Credentials, wire)
	}
	return answer
}

func (s *Server) signIns(c call) (int, any, error) {
	list, err := s.Rotator.SignIns(c.Context(), c.PathValue("name"))
	return http.StatusOK, signInsOf(list), err
}

// SignIns reads the last sign-ins with each credential of an app.
func (c *Client) SignIns(ctx context.Context, name string) (SignIns, error) {
	var answer SignIns
	return answer, c.do(ctx, http.MethodGet, appPath(name, "/signins"), nil, &answer)
}

// Evidence is what the sign-in log showed about the certificate that was replaced.
type Evidence struct {
	// Result is used, unused or unknown.
	Result string `json:"result"`
	// Note says it in one sentence.
	Note    string     `json:"note"`
	AskedAt *time.Time `json:"asked_at"`
	// OldUsedAt and NewUsedAt are the consumer's last sign-ins with either; null:
	// none was seen.
	OldUsedAt *time.Time `json:"old_used_at"`
	NewUsedAt *time.Time `json:"new_used_at"`
}

func evidenceOf(e *rotator.Evidence) *Evidence {
	if e == nil {
		return nil
	}
	return &Evidence{e.Result, e.Note, instant(e.AskedAt), instant(e.OldUsedAt), instant(e.NewUsedAt)}
}
