package wire

import "log/slog"

// Secret is text that must never be printed: formatting, logging and encoding it give "***".
type Secret string

// Masked is what a Secret prints as.
const Masked = "***"

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return Masked
}

// GoString keeps %#v from showing the text.
func (s Secret) GoString() string { return s.String() }

// LogValue keeps slog from showing the text.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps JSON and YAML encoders from showing the text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal is the text itself, for the one place that sends or digests it.
func (s Secret) Reveal() string { return string(s) }
