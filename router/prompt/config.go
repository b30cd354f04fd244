package prompt

import "gopkg.in/yaml.v3"

// Config is the section `prompts`.
type Config struct {
	Dir      string             `yaml:"dir,omitempty" jsonschema_description:"the folder of the templates, each version a file: NAME/VERSION.yml, such as support/1.2.0.yml"`
	Releases map[string]Release `yaml:"releases,omitempty" jsonschema_description:"by template: which version requests get that name none; default: the latest"`
}

// Release says which version of a template is used where none is asked for.
type Release struct {
	Version string  `yaml:"version,omitempty" jsonschema_description:"a version or a range of them, such as 1.2.0, ^1.2, ~1.2.3, 1.x or >=1.0 <2.0; the highest that fits is used; default: the latest"`
	Rollout Rollout `yaml:"rollout,omitempty"`
}

// Use puts a template in front of every request to a model. The client's requests need not mention it, and can give
// nothing but its variables.
type Use struct {
	Name      string  `yaml:"name" jsonschema:"required" jsonschema_description:"the template"`
	Version   string  `yaml:"version,omitempty" jsonschema_description:"a version or a range of them, such as 1.2.0, ^1.2, ~1.2.3, 1.x or >=1.0 <2.0; the highest that fits is used; default: the template's release, or else the latest"`
	Variables Values  `yaml:"variables,omitempty" jsonschema_description:"values of its variables; the client's own come before them"`
	Rollout   Rollout `yaml:"rollout,omitempty"`
}

// IsZero tells that nothing was said.
func (u Use) IsZero() bool {
	return u.Name == "" && u.Version == "" && len(u.Variables) == 0 && u.Rollout.isZero()
}

// Rollout gives a share of the requests to another version.
type Rollout struct {
	To      string   `yaml:"to,omitempty" jsonschema_description:"the other version, or a range"`
	Percent float64  `yaml:"percent,omitempty" jsonschema:"minimum=0,maximum=100" jsonschema_description:"of the requests that it is for; default 0"`
	Tenants []string `yaml:"tenants,omitempty" jsonschema_description:"it is for these only; default all"`
	Scenes  []string `yaml:"scenes,omitempty" jsonschema_description:"it is for these only; default all"`
	Sticky  string   `yaml:"sticky,omitempty" jsonschema:"enum=user,enum=tenant,enum=request" jsonschema_description:"who always gets the same version: a user (default; a request that names none is on its own), a tenant, or nobody but the request"`
}

func (r Rollout) isZero() bool {
	return r.To == "" && r.Percent == 0 && r.Tenants == nil && r.Scenes == nil && r.Sticky == ""
}

// Values are variables with their values, of any type.
type Values map[string]any

// UnmarshalYAML reads a mapping.
func (v *Values) UnmarshalYAML(n *yaml.Node) error { return n.Decode((*map[string]any)(v)) }

// MarshalYAML writes what UnmarshalYAML reads.
func (v Values) MarshalYAML() (any, error) { return map[string]any(v), nil }
