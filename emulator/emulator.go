// Package emulator is an Entra tenant in memory: the login host and Microsoft
// Graph, as far as a program that rotates certificates meets them.
//
// Start with [Tenant]; its zero value is ready. It is an [http.Handler] for both
// hosts at once, [Tenant.Transport] calls it without a network, and [Serve] puts
// it on a real port with its own certificate authority.
//
// It is strict where Entra is strict, and stricter where Entra is vague: client
// assertions and proofs of possession are checked with real RSA signatures
// against certificates that were really registered, requests are checked against
// the official schema, permissions against the roles in the token. A client that
// locks itself out of Entra is locked out here. On request it is hostile: see the
// fields of [Tenant].
//
// What it is not: it is not Entra, and not for production. Everything is lost
// when the process ends. Users sign in without a password, and with the Azure CLI's
// client ID only there are delegated tokens; nobody is asked for consent. It answers 501
// to every request, query option, property and operator that it does not know.
package emulator

import (
	"crypto/rand"
	"crypto/rsa"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Notice tells people what they are talking to. Programs that start a tenant
// print it.
const Notice = "This is an emulator: not Entra, not for production. Its state lives in memory and is lost when it stops."

// replicas is how many copies of the directory answer, in turn.
//
// Microsoft gives no number; three is enough for a fresh write to be seen, then
// not, then seen again.
const replicas = 3

// A Tenant is an Entra tenant in memory. Its zero value is ready for use.
//
// The exported fields may be set freely before the first request; after it, only
// inside [Tenant.Configure]. The zero value of each is a tenant that is strict and
// friendly: no lag, no failures. A Tenant must not be copied. All its methods are
// safe for concurrent use.
type Tenant struct {
	// ID is the tenant's GUID. If empty, a fresh one is made at first use and
	// can be read with [Tenant.TenantID].
	ID string

	// Domain is the tenant's first domain, accepted in place of the ID by the
	// login host. If empty, "contoso.onmicrosoft.com".
	Domain string

	// Propagation is how long a change of an app (a key or secret added or
	// removed, the app made or deleted) needs to reach the last replica of the
	// token service. Replicas answer in turn; the first knows after a third of
	// it, the second after two thirds. Proofs of possession and Graph itself
	// know at once. Entra gives no figure; seconds to minutes were measured.
	//
	// https://github.com/microsoftgraph/microsoft-graph-docs/issues/17966
	Propagation time.Duration

	// ReadLag is how far the last replica of Graph is behind when it reads. The
	// first is up to date, the second half as far behind: a fresh write may be
	// seen, then not, then seen. Writes are always made on the present state,
	// but an object that the answering replica does not know yet is 404.
	//
	// https://github.com/hashicorp/terraform-provider-azuread (it reads until it
	// saw a new credential five times in a row)
	ReadLag time.Duration

	// Latency is added to each request, half before the work and half after it,
	// so that a client that gives up early does not know whether it was done.
	Latency time.Duration

	// RefuseEnded refuses a PATCH that sends back an entry which has ended. Whether
	// Entra does is open.
	RefuseEnded bool

	// LenientProof accepts what neither the proof-of-possession page shows nor live
	// tenants were seen to accept: PS256 instead of RS256, x5t#S256 or a kid in lower
	// case alone instead of x5t, and a removeKey signed by the very key that it removes.
	// Zero refuses all of it.
	//
	// https://learn.microsoft.com/graph/application-rollkey-prooftoken
	LenientProof bool

	// RemoveUnknownStatus is the status of a removeKey for a keyId that is not
	// there. If zero, 400. The message is known, the status is not documented.
	//
	// https://github.com/blackadi/GraphAPI_addKey_API_SP
	RemoveUnknownStatus int

	// RemoveNotFound is how many removals of an entry that is there are answered 400
	// "No credentials found to be removed." and not done, before one is: reads and
	// writes meet different replicas. RemoveNotFoundPercent is how many of 100 are,
	// besides.
	//
	// Seen live on 2026-08-21 by https://github.com/sg1888/postfix-m365-relay
	RemoveNotFound, RemoveNotFoundPercent int

	// RemoveAgain is how many removals of an entry are answered 204 and have no effect,
	// before one has: the exact same removal is needed again. Seen there, too.
	RemoveAgain int

	// DeniedError is the OAuth "error" of a refusal for a disabled app
	// (AADSTS7000112) or by Conditional Access (AADSTS53003). If empty,
	// "unauthorized_client" and "invalid_grant". Not documented for client
	// credentials.
	DeniedError string

	// NoPremium refuses the log of sign-ins, as for a tenant without an Entra ID P1
	// licence. The code and the status are from memory of others, not documented.
	NoPremium bool

	// SignInDelay is how long a sign-in needs to get into the log. Minutes were
	// measured; it is not documented.
	SignInDelay time.Duration

	// OwnCorrelationIDs makes the log of sign-ins ignore the client-request-id that a
	// client sent. Zero shows it as correlationId, as the page says for sign-ins of
	// users; for those of apps it is not documented.
	//
	// https://learn.microsoft.com/graph/api/resources/signin?view=graph-rest-beta
	OwnCorrelationIDs bool

	// Facts are those that are open.
	Facts Open

	// PublicHosts makes the tenant answer for [PublicHosts] only, each as Microsoft
	// shares them out, and refuse every other host with 501. Zero answers for any
	// host, by the path.
	PublicHosts bool

	// Users are those who can sign in with a browser or a device code. If empty,
	// nobody can.
	Users []User

	// RedirectURIs are those of the platform "Web" of apps, by client ID in lower
	// case: where browsers are sent after a sign-in, compared to the letter.
	RedirectURIs map[string][]string

	// SigningKey signs access tokens. If nil, one is made at first use, which
	// takes about a tenth of a second.
	SigningKey *rsa.PrivateKey

	// Seed makes the dice below reproducible. Zero is a seed like any other.
	Seed uint64

	// ThrottlePercent is how many of 100 requests are answered 429.
	ThrottlePercent int

	// RetryAfter is what a 429 asks for, with fractions of a second as Graph
	// sends them. If zero, one second; if negative, the header is left out.
	RetryAfter time.Duration

	// LoseAnswersPercent is how many of 100 requests are done but not answered:
	// the connection is closed, or [Tenant.Transport] returns an error.
	LoseAnswersPercent int

	// FailPercent is how many of 100 requests are answered 500, 502, 503 or 504.
	// Before a 504 the work is done, before the others it is not: a client cannot
	// tell.
	FailPercent int

	// ConflictPercent is how many of 100 writes to Graph are answered 409
	// Directory_ConcurrencyViolation, undone.
	//
	// https://github.com/nais/azurerator
	ConflictPercent int

	// KeyReadsPerMinute limits the requests that name keyCredentials in $select.
	// If zero, 150 as documented; if negative, there is no limit.
	//
	// https://learn.microsoft.com/graph/api/application-list
	KeyReadsPerMinute int

	// ClockSkew is added to the tenant's clock: the Date header, the times in and
	// checks of tokens, the validity of certificates.
	ClockSkew time.Duration

	// Now is the clock. If nil, time.Now. It must be safe for concurrent use.
	Now func() time.Time

	// Intercept sees every request before it is handled and may decide its fate.
	// If it is nil or returns nil, the percentages above decide. It may call the
	// methods of the Tenant and must be safe for concurrent use.
	Intercept func(Request) *Fault

	// Log is called once for each request, one call at a time. It may be nil.
	Log func(Entry)

	// Unknown is called for a request that the tenant does not know, before it
	// answers 501. It may be nil; tests fail there.
	Unknown func(Request)

	mu    sync.Mutex // guards all of the above and below
	dir   *directory // nil until first use
	dice  *mathrand.Rand
	turn  uint64 // of the replicas of the token service
	read  uint64 // of the replicas of Graph
	reads window // of requests that name keyCredentials in $select
	// removals counts those of one entry that had no effect, by keyId.
	removals map[string]int
	// removalsSent counts all; see [Open.DenyRemovals].
	removalsSent int
	// grants are authorization codes.
	grants map[string]*grant
	// devices are device codes that wait for a user or for the client; refreshes are
	// refresh tokens.
	devices   map[string]*device
	refreshes map[string]session
	// signIns is the log of sign-ins, oldest first.
	signIns []loggedSignIn

	logMu sync.Mutex // serialises Log
	log   ring       // guarded by logMu

	signMu sync.Mutex
	signer *rsa.PrivateKey    // of access tokens; made at the first one, guarded by signMu
	tokens map[string]*caller // access tokens verified already, guarded by signMu
}

// Configure changes the exported fields while requests may be served.
//
// f must not call other methods of the Tenant. A change holds for every request
// that arrives after Configure has returned.
func (t *Tenant) Configure(f func(*Tenant)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(t)
}

// TenantID returns the tenant's GUID.
func (t *Tenant) TenantID() string {
	t.lock()
	defer t.mu.Unlock()
	return t.ID
}

// lock locks mu and makes the directory at first use.
func (t *Tenant) lock() {
	t.mu.Lock()
	if t.dir != nil {
		return
	}
	if t.ID == "" {
		t.ID = uuid.NewString()
	}
	if t.Domain == "" {
		t.Domain = "contoso.onmicrosoft.com"
	}
	t.dir = newDirectory(t.Domain)
	t.dice = mathrand.New(mathrand.NewPCG(t.Seed, t.Seed)) //nolint:gosec // dice for faults, reproducible on purpose
}

// clock returns the time by which changes travel between replicas; it has no skew,
// so that changing the skew moves no change into the future.
func (t *Tenant) clock() time.Time {
	if t.Now != nil {
		return t.Now().UTC()
	}
	return time.Now().UTC()
}

// now returns the tenant's time.
func (t *Tenant) now() time.Time { return t.clock().Add(t.ClockSkew) }

// change records a new state of an object. old versions that no replica shows any
// more are dropped.
func (t *Tenant) change(o *object) {
	now := t.clock()
	t.dir.put(o, now, now.Add(-max(t.Propagation, t.ReadLag)))
}

// nextReplica chooses the replica that answers and returns what it sees: behind is
// how far the last replica is behind, first how many steps of replicas the first is.
func (t *Tenant) nextReplica(turn *uint64, behind time.Duration, first uint64) view {
	i := *turn%replicas + first
	*turn++
	if behind <= 0 || i == 0 {
		return view{present: true}
	}
	steps := replicas - 1 + first
	//nolint:gosec // two numbers below four
	return view{asOf: t.clock().Add(-behind * time.Duration(i) / time.Duration(steps))}
}

// signingKey returns the key that signs access tokens.
func (t *Tenant) signingKey() (*rsa.PrivateKey, error) {
	t.signMu.Lock()
	defer t.signMu.Unlock()
	if t.SigningKey != nil {
		return t.SigningKey, nil
	}
	if t.signer == nil {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		t.signer = key
	}
	return t.signer, nil
}
