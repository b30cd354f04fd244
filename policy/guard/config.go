package guard

import (
	"time"

	"jarvis-gateway/proxy/wire"
)

// Config is one entry of a tenant's `guards`: what to look for, and what to do when it is found. Guards work in order;
// each sees what the ones before it left.
type Config struct {
	Kind   string   `yaml:"kind" jsonschema:"required,enum=deny,enum=allow,enum=pii,enum=injection,enum=size,enum=modality,enum=http" jsonschema_description:"deny or allow (patterns), pii (personal data and secrets), injection (attempts to take over a prompt), size, modality, http (ask a server of yours)"`
	Name   string   `yaml:"name,omitempty" jsonschema_description:"what logs and flags call it, and what deny puts in the place of masked text; default its kind"`
	Action string   `yaml:"action,omitempty" jsonschema:"enum=refuse,enum=mask,enum=flag" jsonschema_description:"refuse, mask (deny, pii, http; put back in the answer) or flag (only note it); default mask for pii, refuse for the others"`
	On     []string `yaml:"on,omitempty" jsonschema:"enum=request,enum=answer" jsonschema_description:"request, answer or both; default both for deny and pii, else request"`
	Roles  []string `yaml:"roles,omitempty" jsonschema:"enum=user,enum=assistant,enum=system,enum=tool,enum=other" jsonschema_description:"whose texts of a request are looked at; default all, for allow user, for injection user and tool"`

	Patterns []string `yaml:"patterns,omitempty" jsonschema_description:"deny, allow: RE2 expressions; (?i) ignores case"`
	Types    []string `yaml:"types,omitempty" jsonschema:"enum=email,enum=phone,enum=cn_id,enum=card,enum=secret" jsonschema_description:"pii: email, phone, cn_id (Chinese resident id), card (bank card), secret (keys, tokens, private keys); default all"`

	Threshold float64 `yaml:"threshold,omitempty" jsonschema_description:"injection: the score from which a text counts as an attempt, 0.1 to 10; default 1; one plain attempt scores 1 and weak signs 0.3 to 0.7"`

	MaxBytes    int64 `yaml:"max_bytes,omitempty" jsonschema:"minimum=1" jsonschema_description:"size: bytes of the request's body"`
	MaxChars    int64 `yaml:"max_chars,omitempty" jsonschema:"minimum=1" jsonschema_description:"size: characters of all the request's texts"`
	MaxMessages int64 `yaml:"max_messages,omitempty" jsonschema:"minimum=1" jsonschema_description:"size: messages, or items of input"`
	MaxTools    int64 `yaml:"max_tools,omitempty" jsonschema:"minimum=1" jsonschema_description:"size: tools offered to the model"`

	Allow []string `yaml:"allow,omitempty" jsonschema:"enum=text,enum=image,enum=audio,enum=video,enum=file" jsonschema_description:"modality: all that a request may hold: text, image, audio, video, file"`
	Deny  []string `yaml:"deny,omitempty" jsonschema:"enum=text,enum=image,enum=audio,enum=video,enum=file" jsonschema_description:"modality: what a request may not hold"`

	URL     string        `yaml:"url,omitempty" jsonschema_description:"http: is asked by POST; https, or http with private: true"`
	Secret  wire.Secret   `yaml:"secret,omitempty" jsonschema_description:"http: signs what is asked, in X-Jarvis-Signature"`
	Timeout time.Duration `yaml:"timeout,omitempty" jsonschema_description:"http: how long an answer may take; default 2s, at most 30s"`
	OnError string        `yaml:"on_error,omitempty" jsonschema:"enum=open,enum=closed" jsonschema_description:"http: when there is no answer, closed (default) refuses and open lets pass"`
	Private bool          `yaml:"private,omitempty" jsonschema_description:"http: the url is a loopback or private address, and may be plain http"`
}
