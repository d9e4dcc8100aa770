package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/config"
)

// TestU7AppsOfSpreadsheet reads apps.csv as spreadsheets write it.
func TestU7AppsOfSpreadsheet(t *testing.T) {
	load := func(text string) (*config.Apps, error) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "apps.csv")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return config.LoadAppsFile(path)
	}
	for name, text := range map[string]string{
		"commas":          "name,tenant,client_id,mode,deliver_file,owner,tags,overlap\none,contoso,22222222-3333-4444-5555-666666666666,managed,/srv/one/app.pfx,ops@contoso.example,a b,7d\n,,,,,,,\n",
		"Excel in Europe": "\ufeffName;Tenant;Client_ID;Mode;Deliver_File;Owner;Tags;Overlap\r\none;contoso;22222222-3333-4444-5555-666666666666;managed;/srv/one/app.pfx;ops@contoso.example;a b;7d\r\n",
	} {
		apps, err := load(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		one := apps.Apps[0]
		if len(apps.Apps) != 1 || one.Name != "one" || one.Mode != "managed" || one.Deliveries[0].PasswordPath != "/srv/one/app.pfx.password" ||
			len(one.Tags) != 2 || one.Policy.Overlap.String() != "7d" || one.Owner != "ops@contoso.example" {
			t.Errorf("%s: %+v", name, one)
		}
	}
	for name, test := range map[string]struct{ text, want string }{
		"an unknown column": {"name,colour\na,red\n", `there is no column "colour"`},
		"a wrong value":     {"name,tenant,client_id\na,contoso,22222222-3333-4444-5555-666666666666\nb,contoso,nope\n", "apps.csv:3"},
		"a wrong duration":  {"name,tenant,client_id,overlap\na,contoso,22222222-3333-4444-5555-666666666666,soon\n", "overlap"},
		"nothing":           {"\n", "empty"},
	} {
		if _, err := load(test.text); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
