package config_test

import (
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/config"
)

func TestMetrics(t *testing.T) {
	const refused = "could be reached by others"
	for text, want := range map[string]string{
		"metrics: {listen: \"127.0.0.1:9469\"}":                         "",
		"metrics: {listen: \"127.8.9.10:9469\"}":                        "",
		"metrics: {listen: \"[::1]:9469\"}":                             "",
		"metrics: {listen: \"localhost:9469\"}":                         "",
		"metrics: {listen: \"unix:/run/rotate/metrics.sock\"}":          "",
		"metrics: {textfile: /var/lib/x/rotate.prom}":                   "",
		"metrics: {per_app: false}":                                     "",
		"metrics: {listen: \":9469\"}":                                  refused,
		"metrics: {listen: \"0.0.0.0:9469\"}":                           refused,
		"metrics: {listen: \"[::]:9469\"}":                              refused,
		"metrics: {listen: \"10.1.2.3:9469\"}":                          refused,
		"metrics: {listen: \"localhost.contoso.example:9469\"}":         refused,
		"metrics: {listen: \"9469\"}":                                   "is no address",
		"metrics: {listen: \"127.0.0.1:\"}":                             "is no address",
		"metrics: {listen: \"unix:metrics.sock\"}":                      "no absolute path",
		"metrics: {listen: \"unix:/" + strings.Repeat("a", 107) + "\"}": "at most 107",
		"metrics: {textfile: /var/lib/x/rotate.txt}":                    "does not end in .prom",
		"otlp: {endpoint: \"http://127.0.0.1:4318\"}":                   "",
		"otlp: {endpoint: \"https://otel.contoso.example/x\"}":          "",
		"otlp: {endpoint: \"http://otel.contoso.example:4318\"}":        "names of apps",
		"otlp: {endpoint: \"127.0.0.1:4318\"}":                          "not a URL",
		"otlp: {endpoint: \"grpc://127.0.0.1:4317\"}":                   "not a URL",
		"otlp: {endpoint: \"https://a:geheim@otel.example\"}":           "may not hold a user",
		"otlp: {endpoint: \"https://otel.example/?key=geheim\"}":        "may not hold a user",
	} {
		_, err := config.Load(strings.NewReader(text))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", text, err, want)
		case err != nil && strings.Contains(strings.SplitN(err.Error(), "\n", 2)[0], "geheim"):
			t.Errorf("%s: the message shows a secret: %v", text, err)
		}
	}
}
