package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"

	kiota "github.com/microsoft/kiota-abstractions-go"
	khttp "github.com/microsoft/kiota-http-go"

	"github.com/seed-f0abd057/rotate/rotator"
)

// restriction is one keyCredentialConfiguration.
// https://learn.microsoft.com/graph/api/resources/keycredentialconfiguration
type restriction struct {
	Type         string    `json:"restrictionType"`
	State        string    `json:"state"`
	MaxLifetime  string    `json:"maxLifetime"`
	CreatedAfter time.Time `json:"restrictForAppsCreatedAfterDateTime"`
}

type restrictions struct {
	KeyCredentials []restriction `json:"keyCredentials"`
}

// customPolicy is an appManagementPolicy.
// https://learn.microsoft.com/graph/api/resources/appmanagementpolicy
type customPolicy struct {
	ID           string `json:"id"`
	DisplayName  string `json:"displayName"`
	IsEnabled    bool   `json:"isEnabled"`
	Restrictions struct {
		restrictions
		Application restrictions `json:"applicationRestrictions"`
	} `json:"restrictions"`
}

// defaultPolicy is the tenantAppManagementPolicy.
// https://learn.microsoft.com/graph/api/resources/tenantappmanagementpolicy
type defaultPolicy struct {
	IsEnabled   bool         `json:"isEnabled"`
	Application restrictions `json:"applicationRestrictions"`
}

// LongestLifetime returns what the policies allow for a certificate of the app
// and the policy's name; zero: no limit. A restriction in a policy of the app's
// own wins over the same in the tenant's default one.
//
// The answers are decoded here: the SDK's enumerations drop restrictions that
// are newer than it, and its durations read "P3M" as nothing.
func (c *Client) LongestLifetime(ctx context.Context, as rotator.Access) (time.Duration, string, error) {
	k := call{Access: as, what: readPolicies}
	if err := k.needObjectID(); err != nil {
		return 0, "", err
	}
	var custom struct {
		Value []customPolicy `json:"value"`
	}
	if _, err := c.read(ctx, k, &custom, "/applications/{id}/appManagementPolicies"); err != nil {
		return 0, "", err
	}
	for _, p := range custom.Value {
		if !p.IsEnabled {
			continue
		}
		rules := append(p.Restrictions.KeyCredentials, p.Restrictions.Application.KeyCredentials...) //nolint:gocritic // a new list is meant
		limit, decided, err := c.longest(ctx, k, rules)
		if err != nil || decided {
			return limit, named(limit, fmt.Sprintf("%q (%s)", clean(p.DisplayName), clean(p.ID))), err
		}
	}
	var tenant defaultPolicy
	if _, err := c.read(ctx, k, &tenant, "/policies/defaultAppManagementPolicy"); err != nil {
		return 0, "", err
	}
	if !tenant.IsEnabled {
		return 0, "", nil
	}
	limit, _, err := c.longest(ctx, k, tenant.Application.KeyCredentials)
	return limit, named(limit, "the tenant's default app management policy"), err
}

func named(limit time.Duration, name string) string {
	if limit == 0 {
		return ""
	}
	return name
}

// longest finds the shortest limit among the rules; decided tells that there
// was a rule about lifetimes at all, switched on or off.
func (c *Client) longest(ctx context.Context, k call, rules []restriction) (limit time.Duration, decided bool, err error) {
	for _, r := range rules {
		if r.Type != "asymmetricKeyLifetime" {
			continue
		}
		decided = true
		if r.State == "disabled" || r.MaxLifetime == "" {
			continue
		}
		if !r.CreatedAfter.IsZero() && c.createdBefore(ctx, k, r.CreatedAfter) {
			continue
		}
		d, err := parseDuration(r.MaxLifetime)
		if err != nil {
			return 0, true, k.fix(err, "", "maxLifetime: %v", err)
		}
		if limit == 0 || d < limit {
			limit = d
		}
	}
	return limit, decided, nil
}

// createdBefore reports whether the app is known to be older than a rule. If it
// is not known, the rule holds.
func (c *Client) createdBefore(ctx context.Context, k call, t time.Time) bool {
	app, _, err := c.application(ctx, k, []string{"id", "createdDateTime"})
	if err != nil {
		return false
	}
	created := instant(app.GetCreatedDateTime())
	return !created.IsZero() && created.Before(t)
}

// read gets a path below /v1.0 and decodes its JSON. {id} is the object ID.
func (c *Client) read(ctx context.Context, k call, into any, path string) (*exchange, error) {
	return c.do(ctx, k, func(ctx context.Context, a *khttp.NetHttpRequestAdapter) error {
		r := kiota.NewRequestInformationWithMethodAndUrlTemplateAndPathParameters(
			kiota.GET, "{+baseurl}"+path, map[string]string{"id": string(k.ObjectID)})
		r.Headers.TryAdd("Accept", "application/json")
		raw, err := a.SendPrimitive(ctx, r, "[]byte", errorAnswers())
		if err != nil {
			return err
		}
		body, ok := raw.([]byte)
		if !ok {
			return errors.New("the answer is empty")
		}
		return json.Unmarshal(body, into)
	})
}

// explainPolicy adds to a refusal by policy the longest lifetime, if it can be
// read.
func (c *Client) explainPolicy(ctx context.Context, as rotator.Access, err error) error {
	var f *rotator.Failure
	if !errors.As(err, &f) || f.Reason != rotator.ReasonPolicy {
		return err
	}
	limit, name, lookup := c.LongestLifetime(ctx, as)
	if lookup != nil || limit == 0 {
		return err
	}
	told := *f
	told.LongestLifetime = limit
	told.Message += fmt.Sprintf("; %s allows at most %d days", name, int(limit.Hours()/24))
	return &told
}

// parseDuration reads an ISO 8601 duration such as P90D, P1Y6M or PT12H. A
// month counts 30 days and a year 365: the longest lifetime that is surely
// allowed matters here.
func parseDuration(text string) (time.Duration, error) {
	form := regexp.MustCompile(`^P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d+)?S)?)?$`)
	const day = 24 * time.Hour
	units := []time.Duration{365 * day, 30 * day, 7 * day, day, time.Hour, time.Minute, time.Second}
	m := form.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%.40q is not an ISO 8601 duration", text)
	}
	var sum float64
	for i, unit := range units {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.ParseFloat(m[i+1], 64)
		if err != nil {
			return 0, fmt.Errorf("%.40q is not an ISO 8601 duration", text)
		}
		sum += n * float64(unit)
	}
	if sum <= 0 || sum > math.MaxInt64/2 {
		return 0, fmt.Errorf("%.40q is not a lifetime", text)
	}
	return time.Duration(sum), nil
}
