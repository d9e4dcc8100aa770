package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Setting is one key of the configuration, for reference pages.
type Setting struct {
	// Key is its path: "notify.channels[].smtp.host", "hooks.NAME.command".
	Key string
	// Default of the file that says nothing; empty: none.
	Default string
	// About says what it is.
	About string
	// Allowed are its values, if they are few: "debug|info|warn|error".
	Allowed string
	// Group tells that it only holds others.
	Group bool
}

// Settings lists every key in the order of config.example.yaml.
func Settings() []Setting {
	return settingsOf("", reflect.TypeFor[Config](), reflect.ValueOf(*Default()), nil)
}

// settingsOf walks a struct. value holds the defaults, the zero Value if there are none.
func settingsOf(path string, t reflect.Type, value reflect.Value, list []Setting) []Setting {
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		var v reflect.Value
		if value.IsValid() {
			v = value.Field(i)
		}
		if name == "" && strings.Contains(options, "inline") {
			list = settingsOf(path, field.Type, v, list)
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		list = settingOf(strings.TrimPrefix(path+"."+name, "."), field, field.Type, v, list)
	}
	return list
}

func settingOf(key string, field reflect.StructField, t reflect.Type, value reflect.Value, list []Setting) []Setting {
	one := Setting{Key: key, About: field.Tag.Get("about"), Allowed: field.Tag.Get("enum")}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
		if value.IsValid() && !value.IsNil() {
			value = value.Elem()
		} else {
			value = reflect.Value{}
		}
	}
	inside, below := t, key
	switch t.Kind() { //nolint:exhaustive // the others hold no settings
	case reflect.Slice:
		inside, below, value = t.Elem(), key+"[]", reflect.Value{}
	case reflect.Map:
		inside, below, value = t.Elem(), key+".NAME", reflect.Value{}
	}
	isGroup := inside.Kind() == reflect.Struct && inside != reflect.TypeFor[Schedule]() && inside != reflect.TypeFor[Secret]()
	if !isGroup {
		if value.IsValid() && !value.IsZero() {
			one.Default = fmt.Sprint(value.Interface())
		}
		return append(list, one)
	}
	one.Group = true
	return settingsOf(below, inside, value, append(list, one))
}

// ReferenceMarkdown is docs/configuration.md.
func ReferenceMarkdown() string {
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Made by "rotate config reference"; a test compares. -->

` + "`-c FILE`, else `$ROTATE_CONFIG`, else `/etc/rotate/config.yaml`" + `. The file is strict YAML: an unknown key is
an error that names its line. "rotate setup" writes one, "rotate config check" checks it, "rotate config schema"
prints a JSON Schema for editors, and "rotate reload" makes the running service read it again, without stopping a
rotation. [config.example.yaml](../config.example.yaml) is a whole file. "[]" stands for each element of a list,
NAME for a name that you choose. Durations are written 45d, 24h, 30m, 10s.

| key | default | what it is |
| --- | --- | --- |
`)
	for _, s := range Settings() {
		about := s.About
		if s.Allowed != "" {
			about += " (" + strings.ReplaceAll(s.Allowed, "|", ", ") + ")"
		}
		value := ""
		if s.Default != "" {
			value = "`" + s.Default + "`"
		}
		key := "`" + s.Key + "`"
		if s.Group {
			key = "**" + key + "**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", key, value, strings.ReplaceAll(about, "|", "\\|"))
	}
	return b.String()
}

// ReferenceMan is the manual page rotate.yaml(5). date is written as it is.
func ReferenceMan(date string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH ROTATE.YAML 5 %q rotate rotate\n.SH NAME\nrotate.yaml \\- configuration of rotate(1)\n.SH DESCRIPTION\n", date)
	b.WriteString(roff("The file is strict YAML: an unknown key is an error that names its line. It is read from -c FILE, else $ROTATE_CONFIG, else /etc/rotate/config.yaml. Below, [] stands for each element of a list, NAME for a name that you choose. Durations are written 45d, 24h, 30m, 10s.") + "\n.SH SETTINGS\n")
	for _, s := range Settings() {
		about := s.About
		if s.Allowed != "" {
			about += " (" + strings.ReplaceAll(s.Allowed, "|", ", ") + ")"
		}
		if s.Default != "" {
			about += ". Default: " + s.Default
		}
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(s.Key), roff(about))
	}
	b.WriteString(".SH SEE ALSO\n.BR rotate (1),\n.BR rotate\\-config\\-check (1),\n/usr/share/doc/rotate/config.example.yaml\n")
	return b.String()
}

// roff escapes text of a manual page.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
