package provider

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
)

// hidden stands where a provider's text named something that clients must not know.
const hidden = "[hidden]"

// secrets lists what may never be seen in a provider's error text, the longest first: its key, the values of the
// headers it is sent, and where it is.
func secrets(cfg Config, bases []*url.URL) [][]byte {
	var list [][]byte
	add := func(s string) {
		if len(s) >= 4 { // less would only tear holes into ordinary words
			list = append(list, []byte(s))
		}
	}
	add(cfg.APIKey.Reveal())
	for _, v := range cfg.Headers {
		add(v)
	}
	for _, u := range bases {
		add(u.String())
		add(u.Host)
		add(u.Hostname())
	}
	slices.SortFunc(list, func(a, b []byte) int { return cmp.Or(cmp.Compare(len(b), len(a)), bytes.Compare(a, b)) })
	return slices.CompactFunc(list, bytes.Equal)
}

// address matches IPv4 addresses, with a port: servers like to name themselves and their neighbours in error texts.
var address = regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b`)

func (c *Client) redact(text []byte) []byte {
	hide := c.secrets
	if c.fleet != nil {
		hide = *c.fleet.hidden.Load()
	}
	for _, secret := range hide {
		text = bytes.ReplaceAll(text, secret, []byte(hidden))
	}
	return address.ReplaceAll(text, []byte(hidden))
}

// redactJSON redacts a JSON document, also of what is written in escapes: .NET, for one, writes + as \u002B.
func (c *Client) redactJSON(doc []byte) []byte {
	if bytes.Contains(doc, []byte(`\u`)) || bytes.Contains(doc, []byte(`\/`)) {
		if plain := unescaped(doc); !bytes.Equal(c.redact(plain), plain) {
			doc = plain
		}
	}
	return c.redact(doc)
}

// unescaped is the document with as few escapes as can be.
func unescaped(doc []byte) []byte {
	var v any
	var out bytes.Buffer
	in, enc := json.NewDecoder(bytes.NewReader(doc)), json.NewEncoder(&out)
	in.UseNumber()
	enc.SetEscapeHTML(false)
	if in.Decode(&v) != nil || enc.Encode(v) != nil {
		return doc
	}
	return bytes.TrimSpace(out.Bytes())
}
