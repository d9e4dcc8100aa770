package config

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
)

// Schema returns a JSON Schema (draft 2020-12) of the configuration, for editors that
// complete and check YAML. It allows more than [Load]: what one key asks of another is
// not in it.
func Schema() []byte {
	root := schemaOf(reflect.TypeFor[Config](), reflect.ValueOf(*Default()))
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Configuration of rotate"
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // a bug: maps of text and numbers can always be written
	}
	return append(out, '\n')
}

// schemaOf describes a type. value holds its default, the zero Value if it has none.
func schemaOf(t reflect.Type, value reflect.Value) map[string]any {
	if t.Kind() == reflect.Pointer {
		if !value.IsValid() || value.IsNil() {
			return schemaOf(t.Elem(), reflect.Value{})
		}
		return schemaOf(t.Elem(), value.Elem())
	}
	out := map[string]any{}
	switch t {
	case reflect.TypeFor[Duration]():
		const form = `^[0-9.]+(ns|us|µs|ms|s|m|h|d)([0-9.]+(ns|us|µs|ms|s|m|h))*$`
		out["anyOf"] = []any{map[string]any{"type": "string", "pattern": form}, map[string]any{"const": 0}}
		if value.IsValid() && value.CanInterface() {
			out["default"] = Duration(value.Int()).String()
		}
		return out
	case reflect.TypeFor[Schedule]():
		out["type"] = "string"
		if value.IsValid() {
			if s, ok := reflect.TypeAssert[Schedule](value); ok {
				out["default"] = s.String()
			}
		}
		return out
	case reflect.TypeFor[Secret]():
		out["type"] = "string"
		return out
	case reflect.TypeFor[Cloud]():
		return map[string]any{"default": "global", "oneOf": []any{map[string]any{"enum": Clouds()}, object(t, reflect.Value{})}}
	}
	switch t.Kind() { //nolint:exhaustive // the kinds that the configuration has
	case reflect.Struct:
		return object(t, value)
	case reflect.Map:
		out["type"], out["additionalProperties"] = "object", schemaOf(t.Elem(), reflect.Value{})
	case reflect.Slice:
		out["type"], out["items"] = "array", schemaOf(t.Elem(), reflect.Value{})
	case reflect.Int:
		out["type"] = "integer"
		if value.IsValid() {
			out["default"] = value.Int()
		}
	case reflect.Bool:
		out["type"] = "boolean"
	default:
		out["type"] = "string"
		if value.IsValid() {
			out["default"] = value.String()
		}
	}
	return out
}

// object describes a struct by its yaml, about and enum tags.
func object(t reflect.Type, value reflect.Value) map[string]any {
	properties := map[string]any{}
	out := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "-" {
			continue
		}
		var field reflect.Value
		if value.IsValid() {
			field = value.FieldByIndex(f.Index)
		}
		if options == "inline" {
			inner, _ := object(f.Type, field)["properties"].(map[string]any)
			maps.Copy(properties, inner)
			continue
		}
		p := schemaOf(f.Type, field)
		p["description"] = f.Tag.Get("about")
		if e := f.Tag.Get("enum"); e != "" {
			p["enum"] = strings.Split(e, "|")
		}
		properties[name] = p
	}
	return out
}
