package router

import "time"

// Model is one entry of `models`: a name that clients may ask for, and who serves it. A name may hold `*`; then a target
// without a model is asked for the client's own model name.
type Model struct {
	Targets     []TargetConfig `yaml:"targets" jsonschema:"required,minItems=1" jsonschema_description:"who serves the name; the next is tried when one fails before its first content"`
	Pick        string         `yaml:"pick,omitempty" jsonschema:"enum=in_order" jsonschema_description:"how a target is chosen"`
	Timeout     Timeout        `yaml:"timeout,omitempty"`
	AnswerModel string         `yaml:"answer_model,omitempty" jsonschema:"enum=served,enum=asked" jsonschema_description:"the model that answers name: the one that served (default) or the one the client asked for"`
}

// TargetConfig is one provider's model.
type TargetConfig struct {
	Provider string `yaml:"provider" jsonschema:"required"`
	Model    string `yaml:"model,omitempty" jsonschema_description:"the provider's name for the model; default: the name the client asked for"`
}

// Timeout bounds the phases of one attempt.
type Timeout struct {
	Connect    time.Duration `yaml:"connect,omitempty" jsonschema_description:"until connected, TLS included; default 5s"`
	FirstToken time.Duration `yaml:"first_token,omitempty" jsonschema_description:"streams: until the first content; default 5m"`
	Idle       time.Duration `yaml:"idle,omitempty" jsonschema_description:"streams: between two reads; default 5m"`
	Total      time.Duration `yaml:"total,omitempty" jsonschema_description:"the whole answer; default 10m"`
}
