package main

import (
	"encoding/json"
	"io"
	"maps"
	"path"
	"reflect"
	"slices"
	"time"

	"github.com/invopop/jsonschema"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/trace"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// isReference is the pattern of a ${NAME} among a text.
const isReference = `\$\{.+\}`

// printSchema writes the JSON Schema of the configuration.
func printSchema(out io.Writer) error {
	reflector := jsonschema.Reflector{
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		ExpandedStruct:             true,
		Anonymous:                  true,
		Mapper:                     schemaOf,
		Namer:                      schemaName,
	}
	schema := reflector.Reflect(Config{})
	schema.Title = "jarvis-gateway"
	schema.Description = "The configuration of jarvis-gateway. Every text may hold ${NAME} or ${NAME:-default}, taken from the environment."
	allowReferences(schema)
	for _, definition := range schema.Definitions {
		allowReferences(definition)
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(schema)
}

// schemaName tells the packages' Configs apart: provider.Config. This package's path is main in the program only.
func schemaName(t reflect.Type) string {
	if t.PkgPath() == reflect.TypeFor[Config]().PkgPath() || t.PkgPath() == "" {
		return t.Name()
	}
	return path.Base(t.PkgPath()) + "." + t.Name()
}

// schemaOf describes the types that are written otherwise than they are kept.
func schemaOf(t reflect.Type) *jsonschema.Schema {
	if text, ok := texts[t]; ok {
		return &jsonschema.Schema{Type: "string", Pattern: text.pattern, Examples: []any{text.example}}
	}
	if of, ok := schemas()[t]; ok {
		return of()
	}
	return nil
}

// schemas are the types that take more than one form. It is a function, as conditions hold others of them.
func schemas() map[reflect.Type]func() *jsonschema.Schema {
	return map[reflect.Type]func() *jsonschema.Schema{
		reflect.TypeFor[time.Duration]():     durationSchema,
		reflect.TypeFor[proxy.Size]():        sizeSchema,
		reflect.TypeFor[wire.Secret]():       func() *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Examples: []any{"${NAME}"}} },
		reflect.TypeFor[policy.Rates]():      func() *jsonschema.Schema { return oneOrMore(rateSchema(false)) },
		reflect.TypeFor[policy.Spends]():     func() *jsonschema.Schema { return oneOrMore(rateSchema(true)) },
		reflect.TypeFor[policy.Amount]():     amountSchema,
		reflect.TypeFor[policy.OnExceed]():   exceedSchema,
		reflect.TypeFor[usage.Unknown]():     unknownSchema,
		reflect.TypeFor[provider.Replicas](): replicasSchema,
		reflect.TypeFor[provider.Every]():    everySchema,
		reflect.TypeFor[router.When]():       whenSchema,
		reflect.TypeFor[router.Names]():      func() *jsonschema.Schema { return oneOrMoreOf(&jsonschema.Schema{Type: "string"}) },
		reflect.TypeFor[router.Modalities](): modalitiesSchema,
		reflect.TypeFor[globs]():             globsSchema,
	}
}

func durationSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`, Examples: []any{"500ms", "30s", "10m", "1h30m"}}
}

func sizeSchema() *jsonschema.Schema {
	return &jsonschema.Schema{
		AnyOf: []*jsonschema.Schema{
			{Type: "string", Pattern: `^[0-9]+ *(KiB|MiB|GiB|KB|MB|GB|B)?$|` + isReference},
			{Type: "integer", Minimum: "1"},
		},
		Examples: []any{"512KiB", "32MiB", "10MB"},
	}
}

func amountSchema() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
		{Type: "integer", Minimum: "1"},
		{Type: "string", Pattern: `^[0-9.]+[kMG]?$|` + isReference},
	}}
}

// unknownSchema is what becomes of models whose price nobody knows.
func unknownSchema() *jsonschema.Schema {
	assume := jsonschema.NewProperties()
	assume.Set("assume", &jsonschema.Schema{Type: "object", Description: "what tokens cost, such as {input: $5/M, output: $15/M}"})
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
		{Type: "string", Enum: []any{"reject", "free"}},
		{Type: "object", Properties: assume, Required: []string{"assume"}, AdditionalProperties: jsonschema.FalseSchema},
	}}
}

func everySchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^(off|0s|([0-9]+(\.[0-9]+)?(ms|s|m|h))+)$`, Examples: []any{"1s", "off"}}
}

func modalitiesSchema() *jsonschema.Schema {
	kind := &jsonschema.Schema{Type: "string"}
	for _, choice := range (router.Modalities{}).Choices() {
		kind.Enum = append(kind.Enum, choice)
	}
	return oneOrMoreOf(kind)
}

func globsSchema() *jsonschema.Schema {
	list := oneOrMore(&jsonschema.Schema{Type: "string"})
	list.Examples = []any{"policies/*.yml"}
	return list
}

const (
	someTime  = `[0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h)([0-9.]+(ns|us|µs|ms|s|m|h))*`
	somePart  = `[0-9]+(\.[0-9]+)?%`
	someCount = `[0-9]+(\.[0-9]+)?[kM]?`
)

// texts are types that are written as text of one form.
var texts = map[reflect.Type]struct{ pattern, example string }{
	reflect.TypeFor[router.Percent](): {`^` + somePart + `$`, "50%"},
	reflect.TypeFor[trace.Share]():    {`^` + somePart + `$`, "1%"},
	reflect.TypeFor[router.Range]():   {`^` + someTime + `\.\.` + someTime + `$`, "200ms..2s"},
	reflect.TypeFor[router.After]():   {`^(p[0-9]+(\.[0-9]+)?|` + someTime + `)$`, "p95"},
	reflect.TypeFor[router.Count]():   {`^([<>]=? *` + someCount + `|` + someCount + `\.\.` + someCount + `)$`, ">8000"},
	reflect.TypeFor[router.Share]():   {`^([<>]=? *` + somePart + `|` + somePart + `\.\.` + somePart + `)$`, ">90%"},
	reflect.TypeFor[router.Hours]():   {`^[^ ]+( [^ ]+){0,2}$`, "mon-fri 09:00-18:00 Asia/Shanghai"},
}

// whenKeys is the form of a condition that is a mapping.
type whenKeys router.When

// whenSchema is a condition: an expression, or a mapping.
func whenSchema() *jsonschema.Schema {
	reflector := jsonschema.Reflector{FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, Anonymous: true, DoNotReference: true, Mapper: schemaOf}
	keys := reflector.Reflect(whenKeys{})
	keys.Version = ""
	allowReferences(keys)
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
		{Type: "string", Examples: []any{`tenant == "acme" && tokens > 8000`}},
		keys,
	}}
}

// oneOrMore is a value, or a list.
func oneOrMore(one *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{one, {Type: "array", Items: one}}}
}

// oneOrMoreOf is a value, or a list of some.
func oneOrMoreOf(one *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{one, {Type: "array", Items: one, MinItems: new(uint64(1))}}}
}

// rateSchema is one limit over time, alone or with its finer settings.
func rateSchema(money bool) *jsonschema.Schema {
	pattern, example := `^[0-9.]+[kMG]?/(s|m|h|d|month)$`, "600/m"
	if money {
		pattern, example = `^\$?[0-9.]+[kMG]?/(d|month)$`, "$50/d"
	}
	text := &jsonschema.Schema{Type: "string", Pattern: pattern, Examples: []any{example}}
	fields := jsonschema.NewProperties()
	fields.Set("limit", text)
	fields.Set("models", &jsonschema.Schema{Description: "the models it is for; default all", AnyOf: []*jsonschema.Schema{
		{Type: "string"}, {Type: "array", Items: &jsonschema.Schema{Type: "string"}}}})
	fields.Set("algorithm", &jsonschema.Schema{Type: "string", Enum: []any{"sliding_window", "token_bucket", "leaky_bucket"}})
	fields.Set("burst", &jsonschema.Schema{Description: "what a bucket holds", AnyOf: []*jsonschema.Schema{{Type: "integer"}, {Type: "string"}}})
	fields.Set("on_exceed", exceedSchema())
	object := &jsonschema.Schema{Type: "object", Properties: fields, Required: []string{"limit"}, AdditionalProperties: jsonschema.FalseSchema}
	allowReferences(object) // and with it the limit that stands alone
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{text, object}}
}

// replicasSchema is where the servers of a provider are.
func replicasSchema() *jsonschema.Schema {
	object := func(required string, fields map[string]string) *jsonschema.Schema {
		properties := jsonschema.NewProperties()
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			properties.Set(name, &jsonschema.Schema{Type: "string", Description: fields[name]})
		}
		return &jsonschema.Schema{Type: "object", Properties: properties, Required: []string{required}, AdditionalProperties: jsonschema.FalseSchema}
	}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
		{Type: "array", Items: &jsonschema.Schema{Type: "string"}},
		object("file", map[string]string{"file": "a base URL a line, and comments from #; read again when it changes"}),
		object("dns", map[string]string{"dns": "a base URL whose name has an address for each server, or, if it begins with _, SRV records", "every": "how often it is looked up; default 10s"}),
	}}
}

// exceedSchema is what may happen to a request over a limit.
func exceedSchema() *jsonschema.Schema {
	downgrade := jsonschema.NewProperties()
	downgrade.Set("downgrade", &jsonschema.Schema{Type: "string", Description: "the model that is asked instead"})
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
		{Type: "string", Enum: []any{"reject", "queue"}},
		{Type: "string", Pattern: `^downgrade:.+|` + isReference},
		{Type: "object", Properties: downgrade, Required: []string{"downgrade"}, AdditionalProperties: jsonschema.FalseSchema},
	}}
}

// allowReferences lets ${NAME} stand where a number or one of a few words is expected.
func allowReferences(s *jsonschema.Schema) {
	if s.Properties == nil {
		return
	}
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		switch v := p.Value; {
		case v.Pattern != "":
			v.Pattern += "|" + isReference
		case v.Type == "integer", v.Type == "boolean", v.Type == "number", v.Enum != nil:
			plain := *v
			plain.Description = ""
			reference := &jsonschema.Schema{Type: "string", Pattern: isReference}
			p.Value = &jsonschema.Schema{Description: v.Description, AnyOf: []*jsonschema.Schema{&plain, reference}}
		}
	}
}
