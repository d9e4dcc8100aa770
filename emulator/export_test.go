package emulator

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Routes returns every request that Graph answers, as "METHOD pattern".
func Routes() []string {
	var list []string
	for _, r := range routes() {
		list = append(list, r.method+" "+r.pattern)
	}
	return list
}

// A Checker compares answers with the schema.
type Checker struct{ dir *directory }

// NewChecker reads the schema.
func NewChecker() *Checker {
	return &Checker{&directory{schema: newSchema(), routes: routes()}}
}

// Route returns the route of a request as Routes lists it, empty if there is none.
func (c *Checker) Route(method, path string) string {
	r, _, _ := c.dir.find(method, path)
	if r == nil {
		return ""
	}
	return r.method + " " + r.pattern
}

// Check compares the body of a 2xx answer with the schema.
func (c *Checker) Check(method, path string, body []byte) error {
	r, _, _ := c.dir.find(method, path)
	if r == nil {
		return fmt.Errorf("no route for %s %s", method, path)
	}
	if strings.HasSuffix(r.pattern, countSegment) {
		_, err := strconv.Atoi(string(body))
		return err
	}
	if len(body) == 0 {
		if r.answer != "" {
			return fmt.Errorf("%s %s has no body", method, path)
		}
		return nil
	}
	object, err := decodeObject(body)
	if err != nil {
		return err
	}
	if !r.list {
		answer := r.answer
		if answer == "" {
			answer = r.body // an upsert that made something
		}
		return c.checkOne(answer, object)
	}
	values, ok := object["value"].([]any)
	if !ok {
		return fmt.Errorf("value is %T", object["value"])
	}
	delete(object, "value")
	for name := range object {
		if !isAnnotation(name) {
			return fmt.Errorf("unexpected %q beside value", name)
		}
	}
	for _, v := range values {
		one, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("element is %T", v)
		}
		if err := c.checkOne(r.answer, one); err != nil {
			return err
		}
	}
	return nil
}

func (c *Checker) checkOne(typ string, object map[string]any) error {
	if named, ok := object["@odata.type"].(string); ok {
		typ = strings.TrimPrefix(named, "#microsoft.graph.")
	}
	for name, value := range object {
		related := c.dir.schema.relationship(typ, name)
		if related == "" {
			continue
		}
		delete(object, name)
		expanded, ok := value.([]any)
		if !ok {
			return fmt.Errorf("%s is %T", name, value)
		}
		for _, e := range expanded {
			one, ok := e.(map[string]any)
			if !ok {
				return fmt.Errorf("%s has an element %T", name, e)
			}
			related = strings.TrimSuffix(strings.TrimPrefix(related, "Collection(graph."), ")")
			if err := c.checkOne(related, one); err != nil {
				return err
			}
		}
	}
	return c.dir.schema.checkObject(typ, object, "")
}

// CheckValue checks a JSON value against a type of the schema.
func CheckValue(typ string, nullable bool, value any) error {
	return newSchema().checkValue(typ, nullable, value, "value")
}

// UserToken makes an access token that speaks for a user.
func UserToken(t *Tenant, host, userID string) (string, error) {
	return t.sign(jwt.MapClaims{
		"aud": audiences(host)[0], "appid": graphAppID, "oid": userID, "exp": time.Now().Add(time.Hour).Unix(),
	})
}
