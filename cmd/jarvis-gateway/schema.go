package main

import (
	"encoding/json"
	"io"
	"path"
	"reflect"
	"time"

	"github.com/invopop/jsonschema"

	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/wire"
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

// schemaOf describes the types that are written as text.
func schemaOf(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return &jsonschema.Schema{
			Type:     "string",
			Pattern:  `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`,
			Examples: []any{"500ms", "30s", "10m", "1h30m"},
		}
	case reflect.TypeFor[proxy.Size]():
		return &jsonschema.Schema{
			AnyOf: []*jsonschema.Schema{
				{Type: "string", Pattern: `^[0-9]+ *(KiB|MiB|GiB|KB|MB|GB|B)?$|` + isReference},
				{Type: "integer", Minimum: "1"},
			},
			Examples: []any{"512KiB", "32MiB", "10MB"},
		}
	case reflect.TypeFor[wire.Secret]():
		return &jsonschema.Schema{Type: "string", Examples: []any{"${NAME}"}}
	case reflect.TypeFor[globs]():
		return &jsonschema.Schema{
			AnyOf: []*jsonschema.Schema{
				{Type: "string"},
				{Type: "array", Items: &jsonschema.Schema{Type: "string"}},
			},
			Examples: []any{"policies/*.yml"},
		}
	}
	return nil
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
