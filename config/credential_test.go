package config_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/config"
)

// whole names a credential for a file of every section that has one.
const whole = `
store: {path: a.db, identity_file: "credential:store.key"}
tenants:
  - name: a
    id: 11111111-2222-3333-4444-555555555555
    cloud: {login: https://a.example, graph: https://b.example, ca_file: "credential:ca"}
    identity: {client_id: 22222222-3333-4444-5555-666666666666, certificate_file: "credential:pfx", password_file: "credential:password"}
  - name: b
    id: 11111111-2222-3333-4444-666666666666
    identity: {client_id: 22222222-3333-4444-5555-666666666666, client_secret_file: "credential:secret"}
`

func TestUseCredentials(t *testing.T) {
	c, err := config.Load(strings.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Credentials()); n != 5 {
		t.Errorf("%d credentials without a file: %v, want 5", n, c.Credentials())
	}
	c.UseCredentials("")
	if n := len(c.Credentials()); n != 5 {
		t.Errorf("%d credentials after none were given, want 5", n)
	}
	c.UseCredentials("/run/credentials/rotate.service")
	if left := c.Credentials(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if want := "/run/credentials/rotate.service/store.key"; c.Store.IdentityFile != want {
		t.Errorf("identity_file is %s, want %s", c.Store.IdentityFile, want)
	}
	for _, bad := range []string{"credential:", "credential:../etc/passwd", "credential:a/b"} {
		if _, err := config.Load(strings.NewReader("store: {identity_file: \"" + bad + "\"}")); err == nil || !strings.Contains(err.Error(), "LoadCredential=") {
			t.Errorf("identity_file %q: %v, want that it is no credential", bad, err)
		}
	}
}

// Every setting whose key ends in _file can be a credential, also those to come.
func TestEveryFileCanBeACredential(t *testing.T) {
	c := &config.Config{}
	var fields []string
	fill(reflect.ValueOf(c).Elem(), "", &fields)
	if len(fields) < 8 {
		t.Fatalf("only %d settings are files: %v", len(fields), fields)
	}
	c.UseCredentials("/c")
	if c.Notify.Heartbeat.URLFile != "/c/x" || c.Notify.Heartbeat.CAFile != "/c/x" {
		t.Errorf("heartbeat: %s, %s", c.Notify.Heartbeat.URLFile, c.Notify.Heartbeat.CAFile)
	}
	open := map[string]bool{}
	look(reflect.ValueOf(c).Elem(), open)
	for name := range open {
		if strings.HasPrefix(name, "Address.") {
			continue // a channel has one kind; the heartbeat's address was looked at
		}
		t.Errorf("%s stays %s", name, "credential:x")
	}
}

// fill sets every setting that ends in _file, with one element in each list.
func fill(v reflect.Value, name string, fields *[]string) {
	switch v.Kind() { //nolint:exhaustive // other kinds hold no settings
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); f.IsExported() && (key != "" || f.Anonymous) {
				fill(v.Field(i), key, fields)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name, fields)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0), name, fields)
		}
	case reflect.String:
		if strings.HasSuffix(name, "_file") {
			v.SetString("credential:x")
			*fields = append(*fields, name)
		}
	default:
	}
}

// look finds those that are still as fill left them.
func look(v reflect.Value, open map[string]bool) {
	switch v.Kind() { //nolint:exhaustive // other kinds hold no settings
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); f.IsExported() && v.Field(i).Kind() == reflect.String && v.Field(i).String() == "credential:x" {
				open[v.Type().Name()+"."+key] = true
			}
			if f.IsExported() {
				look(v.Field(i), open)
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			look(v.Elem(), open)
		}
	case reflect.Slice:
		for i := range v.Len() {
			look(v.Index(i), open)
		}
	default:
	}
}
