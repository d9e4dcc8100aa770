package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/config"
)

// TestBuiltInProfiles: the profiles that come with the program are good, and the
// one of the vendor's page has its four permissions and nothing else.
func TestBuiltInProfiles(t *testing.T) {
	list, err := config.Profiles("")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range list {
		names = append(names, p.Name)
	}
	if got := strings.Join(names, " "); got != "cloudm-continuity generic" {
		t.Errorf("built in are %q", got)
	}
	p, err := config.ProfileByName("", "cloudm-continuity")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.PermissionNames(), " "); got != "Mail.Read User.Read.All Directory.Read.All MailboxSettings.Read" {
		t.Errorf("permissions %q", got)
	}
	if p.Policy.Key != "rsa-2048" || p.Policy.Validity.String() != "365d" {
		t.Errorf("key %s for %s, want the page's: rsa-2048 for 365d", p.Policy.Key, p.Policy.Validity)
	}
}

// TestProfileFolder: an own profile hides a built-in one, a wrong one is named and
// keeps none of the others away.
func TestProfileFolder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"generic.yaml": "name: generic\nabout: mine\n",
		"wrong.yaml":   "name: wrong\nunknown: key\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := config.Profiles(dir)
	if err == nil || !strings.Contains(err.Error(), "wrong.yaml") {
		t.Errorf("error %v, want one that names wrong.yaml", err)
	}
	if len(list) != 2 || list[1].About != "mine" {
		t.Errorf("profiles %+v, want the vendor's and mine", list)
	}
	if _, err := config.ProfileByName(dir, "generic"); err != nil {
		t.Errorf("a good profile beside a wrong one: %v", err)
	}
	if _, err := config.ProfileByName("", "nothing"); !errors.Is(err, config.ErrNoProfile) {
		t.Errorf("unknown profile: %v", err)
	}
	if _, err := config.Profiles(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a folder that is not there is no error")
	}
}
