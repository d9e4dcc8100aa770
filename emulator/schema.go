package emulator

import (
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// csdl is a subset of Graph's v1.0 metadata, names and types unchanged.
//
// https://github.com/microsoftgraph/msgraph-metadata, clean_v10_metadata/cleanMetadata.xml
//
//go:embed contract/graph-v1.0-subset.csdl.xml
var csdl []byte

// moreCSDL are further types of the same metadata.
//
//go:embed contract/graph-v1.0-more.csdl.xml
var moreCSDL []byte

// A schema says which properties and parameters exist, and of which type.
type schema struct {
	types   map[string]*structure // entity and complex types
	enums   map[string]enum
	actions map[string]map[string]property // by "bound type.action"
}

type structure struct {
	base          string
	properties    map[string]property
	relationships map[string]string // types by name
}

type property struct {
	typ      string
	nullable bool
}

type enum struct {
	members []string
	flags   bool
}

// A schemaError is a request body that the schema refuses. Its text is Graph's
// where that is known.
type schemaError struct {
	place string
	text  string
	// typ has no property of that name; both are empty for other errors.
	typ, property string
}

func (e *schemaError) Error() string {
	if e.place == "" {
		return e.text
	}
	return e.text + " Property: '" + e.place + "'."
}

type csdlProperty struct {
	Name     string `xml:",attr"`
	Type     string `xml:",attr"`
	Nullable string `xml:",attr"`
}

type csdlType struct {
	Name     string         `xml:",attr"`
	BaseType string         `xml:",attr"`
	Property []csdlProperty `xml:"Property"`

	NavigationProperty []csdlProperty `xml:"NavigationProperty"`
}

type csdlDocument struct {
	Schema struct {
		EnumType []struct {
			Name    string `xml:",attr"`
			IsFlags bool   `xml:",attr"`
			Member  []struct {
				Name string `xml:",attr"`
			}
		}
		ComplexType []csdlType
		EntityType  []csdlType
		Action      []struct {
			Name      string         `xml:",attr"`
			Parameter []csdlProperty `xml:"Parameter"`
		}
	} `xml:"DataServices>Schema"`
}

// newSchema reads the embedded metadata. That it can be read is a property of the
// program, so an error is a bug.
func newSchema() *schema {
	s := &schema{
		types:   map[string]*structure{},
		enums:   map[string]enum{},
		actions: map[string]map[string]property{},
	}
	s.read(csdl)
	s.read(moreCSDL)
	return s
}

// read adds what a document says.
func (s *schema) read(document []byte) {
	var doc csdlDocument
	if err := xml.Unmarshal(document, &doc); err != nil {
		panic("emulator: embedded schema: " + err.Error())
	}
	properties := func(in []csdlProperty) map[string]property {
		out := make(map[string]property, len(in))
		for _, p := range in {
			out[p.Name] = property{p.Type, p.Nullable != "false"}
		}
		return out
	}
	for _, t := range slices.Concat(doc.Schema.ComplexType, doc.Schema.EntityType) {
		relationships := map[string]string{}
		for _, n := range t.NavigationProperty {
			relationships[n.Name] = n.Type
		}
		s.types[t.Name] = &structure{shortName(t.BaseType), properties(t.Property), relationships}
	}
	for _, e := range doc.Schema.EnumType {
		members := make([]string, len(e.Member))
		for i, m := range e.Member {
			members[i] = m.Name
		}
		s.enums[e.Name] = enum{members, e.IsFlags}
	}
	for _, a := range doc.Schema.Action {
		if len(a.Parameter) == 0 {
			continue
		}
		bound := shortName(a.Parameter[0].Type)
		s.actions[bound+"."+a.Name] = properties(a.Parameter[1:])
	}
}

// shortName drops the namespace of a type's name.
func shortName(name string) string {
	return strings.TrimPrefix(strings.TrimPrefix(name, "microsoft."), "graph.")
}

// property finds a property of a type or of its base types.
func (s *schema) property(typ, name string) (property, bool) {
	for t := s.types[typ]; t != nil; t = s.types[t.base] {
		if p, ok := t.properties[name]; ok {
			return p, true
		}
	}
	return property{}, false
}

// relationship returns the type of a relationship of a type or of its base types,
// empty if there is none.
func (s *schema) relationship(typ, name string) string {
	for t := s.types[typ]; t != nil; t = s.types[t.base] {
		if of := t.relationships[name]; of != "" {
			return of
		}
	}
	return ""
}

// PropertyType implements [odata.Schema].
func (s *schema) PropertyType(typ, name string) (edm string, ok bool) {
	if p, found := s.property(typ, name); found {
		return p.typ, true
	}
	edm = s.relationship(typ, name)
	return edm, edm != ""
}

// isWhole says whether the schema has all properties of a type, so that others are
// known not to exist. It has them of v1.0, and of these types only those that are used.
func (s *schema) isWhole(typ string) bool {
	partial := []string{"directoryObject", "domain", "message", "organization", "outlookItem", "user"}
	return s.types[typ] != nil && !slices.Contains(partial, typ)
}

// ofDirectory says whether a kind of object of the directory has a property.
func (s *schema) ofDirectory(name string) bool {
	for _, kind := range []string{kindApplication, kindServicePrincipal, "user"} {
		if _, ok := s.property(kind, name); ok {
			return true
		}
	}
	return false
}

// checkObject checks a JSON object against an entity or complex type. Properties
// may be missing; annotations are left alone.
func (s *schema) checkObject(typ string, object map[string]any, place string) error {
	for name, value := range object {
		if isAnnotation(name) {
			continue
		}
		p, ok := s.property(typ, name)
		if !ok {
			return &schemaError{
				place, fmt.Sprintf("The property '%s' does not exist on type 'microsoft.graph.%s'. Make sure to only use property names that are defined by the type.", name, typ), typ, name,
			}
		}
		if err := s.checkValue(p.typ, p.nullable, value, join(place, name)); err != nil {
			return err
		}
	}
	return nil
}

// checkAction checks the parameters of an action: none unknown, none missing that
// may not be null.
func (s *schema) checkAction(action string, object map[string]any) error {
	parameters := s.actions[action]
	for name, value := range object {
		if isAnnotation(name) {
			continue
		}
		p, ok := parameters[name]
		if !ok {
			return &schemaError{text: fmt.Sprintf("The parameter '%s' in the request payload is not a valid parameter for the operation '%s'.", name, action[strings.Index(action, ".")+1:])}
		}
		if err := s.checkValue(p.typ, p.nullable, value, name); err != nil {
			return err
		}
	}
	for name, p := range parameters {
		if _, ok := object[name]; !ok && !p.nullable {
			return &schemaError{text: fmt.Sprintf("The parameter '%s' is missing.", name)}
		}
	}
	return nil
}

func (s *schema) checkValue(typ string, nullable bool, value any, place string) error {
	if inner, ok := strings.CutPrefix(typ, "Collection("); ok {
		inner = strings.TrimSuffix(inner, ")")
		list, ok := value.([]any)
		if !ok {
			if value == nil && nullable {
				return nil
			}
			return mismatch(value, typ, place)
		}
		for i, v := range list {
			if err := s.checkValue(inner, false, v, fmt.Sprintf("%s[%d]", place, i)); err != nil {
				return err
			}
		}
		return nil
	}
	if value == nil {
		if nullable {
			return nil
		}
		return &schemaError{place: place, text: fmt.Sprintf("A null value was found for a property that has the expected type '%s[Nullable=False]'. The expected type does not allow null values.", typ)}
	}
	name := shortName(typ)
	if e, ok := s.enums[name]; ok {
		return e.check(value, typ, place)
	}
	if s.types[name] != nil {
		object, ok := value.(map[string]any)
		if !ok {
			return mismatch(value, typ, place)
		}
		return s.checkObject(name, object, place)
	}
	if !isPrimitive(typ, value) {
		return mismatch(value, typ, place)
	}
	return nil
}

func (e enum) check(value any, typ, place string) error {
	text, ok := value.(string)
	if !ok {
		return mismatch(value, typ, place)
	}
	members := []string{text}
	if e.flags {
		members = strings.Split(text, ",")
	}
	for _, m := range members {
		if !slices.Contains(e.members, m) {
			return mismatch(value, typ, place)
		}
	}
	return nil
}

// isPrimitive says whether a JSON value can be read as an Edm type.
func isPrimitive(typ string, value any) bool {
	text, isText := value.(string)
	switch typ {
	case "Edm.String":
		return isText
	case "Edm.Boolean":
		_, ok := value.(bool)
		return ok
	case "Edm.Guid":
		return isText && isGUID(text)
	case "Edm.Binary", "Edm.Stream":
		if !isText {
			return false
		}
		_, err := decodeBinary(text)
		return err == nil
	case "Edm.DateTimeOffset":
		if !isText {
			return false
		}
		_, err := time.Parse(time.RFC3339, text)
		return err == nil
	case "Edm.Duration":
		return isText && len(text) > 1 && text != "PT" && durationForm().MatchString(text)
	case "Edm.Int32":
		n, ok := value.(json.Number)
		if !ok {
			return false
		}
		i, err := n.Int64()
		return err == nil && i == int64(int32(i)) //nolint:gosec // the conversion is the check
	case "Edm.Double":
		_, ok := value.(json.Number)
		return ok
	}
	return false
}

// durationForm is the form of Edm.Duration.
//
// https://docs.oasis-open.org/odata/odata-csdl-xml/v4.01/odata-csdl-xml-v4.01.html, 3.3
func durationForm() *regexp.Regexp {
	return regexp.MustCompile(`^-?P(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?$`)
}

// decodeBinary reads Edm.Binary: standard base64. White space is allowed, because
// Azure CLI sends the lines of a PEM as they are; base64url is refused.
//
// https://github.com/microsoftgraph/microsoft-graph-docs/issues/10556
func decodeBinary(text string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
}

// mismatch is Graph's text for a value of the wrong type.
//
// https://github.com/microsoftgraph/microsoft-graph-docs/issues/10556
func mismatch(value any, typ, place string) error {
	kind := "primitive value"
	switch value.(type) {
	case []any:
		kind = "collection"
	case map[string]any:
		kind = "complex value"
	}
	return &schemaError{place: place, text: fmt.Sprintf("Cannot convert a %s to the expected type '%s'. See the inner exception for more details.", kind, typ)}
}

// isAnnotation says whether a name is that of an OData annotation. A bind is not:
// it would change something.
func isAnnotation(name string) bool {
	return strings.Contains(name, "@odata.") && !strings.HasSuffix(name, "@odata.bind")
}

// isGUID says whether text is a GUID in the usual form.
func isGUID(text string) bool {
	return len(text) == 36 && uuid.Validate(text) == nil
}

func join(place, name string) string {
	if place == "" {
		return name
	}
	return place + "." + name
}
