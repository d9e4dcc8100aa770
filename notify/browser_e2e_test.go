//go:build e2e

package notify_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
)

// lookScript renders a page at several widths with Debian's chromium, measures it,
// and keeps pictures.
const lookScript = `
const { chromium } = require("playwright-core");
const { pages, out } = JSON.parse(require("fs").readFileSync(0, "utf8"));
(async () => {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"] });
  const results = [];
  for (const [name, file] of Object.entries(pages))
    for (const [where, width, height, scheme] of [["phone", 360, 740, "light"], ["phone-dark", 360, 740, "dark"], ["desktop", 1280, 900, "light"]]) {
      const page = await browser.newPage({ viewport: { width, height }, colorScheme: scheme });
      const requests = [];
      page.on("request", r => { if (!r.url().startsWith("file:")) requests.push(r.url()); });
      await page.goto("file://" + file);
      const seen = await page.evaluate(() => {
        const channel = c => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
        const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
        const rgb = s => s.match(/[\d.]+/g).map(Number);
        let least = 99, worst = "", small = 99, outside = [];
        for (const e of document.querySelectorAll("h1, h2, p, td, span, strong, div")) {
          const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
          const box = e.getBoundingClientRect(), style = getComputedStyle(e);
          if (!own || !box.width || !box.height || style.display === "none" || style.fontSize === "1px") continue;
          small = Math.min(small, parseFloat(style.fontSize));
          if (box.left < 0 || box.right > document.documentElement.clientWidth + 1) outside.push(e.textContent.slice(0, 40));
          let b = e, back = [255, 255, 255];
          while (b) { const c = rgb(getComputedStyle(b).backgroundColor); if (c.length === 3 || c[3] > 0) { back = c; break; } b = b.parentElement; }
          const [hi, lo] = [light(rgb(style.color)), light(back)].sort((x, y) => y - x);
          const ratio = (hi + 0.05) / (lo + 0.05);
          if (ratio < least) { least = ratio; worst = e.textContent.trim().slice(0, 40); }
        }
        return { scroll: document.documentElement.scrollWidth - document.documentElement.clientWidth, text: document.body.innerText,
          least, worst, small, outside, scripts: document.scripts.length };
      });
      await page.screenshot({ path: out + "/" + name + "-" + where + ".png", fullPage: true });
      results.push({ name, where, requests, ...seen });
      await page.close();
    }
  await browser.close();
  console.log(JSON.stringify(results));
})().catch(e => { console.error(e); process.exit(1); });
`

// TestMailLooks renders the HTML of mails in a browser, at the width of a phone and of
// a desk, light and dark. The pictures lie in ROTATE_PICTURES if that is set.
func TestMailLooks(t *testing.T) {
	dir := t.TempDir()
	npm := exec.CommandContext(t.Context(), "npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", dir, "playwright-core@1.49.1")
	npm.Env = append(os.Environ(), "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1")
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm install: %v\n%s", err, out)
	}
	pictures := os.Getenv("ROTATE_PICTURES")
	if pictures == "" {
		pictures = t.ArtifactDir()
	}
	long := event(rotator.EventForeignCredential, strings.Repeat("averylongnamewithoutanyspace", 4), func(e *rotator.Event) {
		e.Summary = "Somebody added " + strings.Repeat("0123456789abcdef", 8) + " to it."
	})
	days := 7
	good := event(rotator.EventRotated, "contoso-sync", func(e *rotator.Event) { e.Severity, e.Next = rotator.SeverityInfo, "" })
	soon := event(rotator.EventExpiring, "fabrikam-mail", func(e *rotator.Event) {
		e.Stage, e.Days, e.NotAfter, e.Repeat = "7d", &days, e.At.AddDate(0, 0, 7), 2
	})
	messages := map[string]notify.Message{
		"one": message(failed("contoso-sync")), "group": message(failed("contoso-sync"), soon, good),
		"hostile": message(failed(hostile), long), "storm": storm(60, "Adding the new certificate failed: 503 from Graph."),
	}
	pages := map[string]string{}
	for name, m := range messages {
		server := serveMail(t, false, nil)
		if _, err := server.sender(t).Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		pages[name] = filepath.Join(dir, name+".html")
		if err := os.WriteFile(pages[name], []byte(checkMail(t, server.taken()[0].body, notify.Message{ID: m.ID, At: m.At})), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := filepath.Join(dir, "look.js")
	if err := os.WriteFile(script, []byte(lookScript), 0o600); err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(map[string]any{"pages": pages, "out": pictures})
	if err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(t.Context(), "node", script)
	node.Stdin = strings.NewReader(string(input))
	out, err := node.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("chromium: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var seen []struct {
		Name, Where, Text, Worst string
		Scroll, Scripts          int
		Least, Small             float64
		Outside, Requests        []string
	}
	if err := json.Unmarshal(out, &seen); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 3*len(messages) {
		t.Fatalf("%d pages were seen, want %d", len(seen), 3*len(messages))
	}
	for _, s := range seen {
		at := s.Name + " at " + s.Where
		if s.Scroll > 0 || len(s.Outside) > 0 {
			t.Errorf("%s: wider than the screen by %d: %q", at, s.Scroll, s.Outside)
		}
		if s.Least < 4.5 {
			t.Errorf("%s: contrast %.2f of %q, want 4.5", at, s.Least, s.Worst)
		}
		if s.Small < 12 {
			t.Errorf("%s: text of %.0f pixels", at, s.Small)
		}
		if s.Scripts > 0 || len(s.Requests) > 0 {
			t.Errorf("%s: %d scripts, requests to %v", at, s.Scripts, s.Requests)
		}
		for i, e := range messages[s.Name].Events {
			want := []string{strings.Join(strings.Fields(e.App), " ")}
			beside := e.Severity == rotator.SeverityInfo && len(messages[s.Name].Events) > 1 // named, no more
			if i < 25 && !beside {
				want = append(want, e.ID, strings.Join(strings.Fields(e.Summary), " "))
			}
			for _, w := range want {
				if !strings.Contains(strings.Join(strings.Fields(s.Text), " "), w) {
					t.Errorf("%s: %q cannot be seen", at, w)
				}
			}
		}
	}
}
