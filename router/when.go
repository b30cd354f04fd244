package router

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/proxy/wire"
)

// When is a condition on requests: an expression, or keys that must all fit.
type When struct {
	Text string `yaml:"-"` // the expression

	Tenant   Names            `yaml:"tenant,omitempty"`
	Team     Names            `yaml:"team,omitempty"`
	Key      Names            `yaml:"key,omitempty" jsonschema_description:"names of keys"`
	Role     Names            `yaml:"role,omitempty"`
	User     Names            `yaml:"user,omitempty" jsonschema_description:"the end user, of a token, X-Jarvis-Metadata or the request"`
	Scene    Names            `yaml:"scene,omitempty" jsonschema_description:"of X-Jarvis-Metadata"`
	Tag      Names            `yaml:"tag,omitempty" jsonschema_description:"of X-Jarvis-Metadata's tags, any"`
	Model    Names            `yaml:"model,omitempty" jsonschema_description:"the name that was asked for"`
	Tokens   Count            `yaml:"tokens,omitempty" jsonschema_description:"of the prompt, estimated: >8000, or 1k..8k"`
	Modality Modalities       `yaml:"modality,omitempty" jsonschema_description:"what the request holds, any of these; text: nothing but text"`
	Stream   *bool            `yaml:"stream,omitempty"`
	Time     Hours            `yaml:"time,omitempty" jsonschema_description:"days, a time of day and a time zone, each of which may be left out: mon-fri 09:00-18:00 Asia/Shanghai; in UTC unless it says otherwise"`
	Header   map[string]Names `yaml:"header,omitempty" jsonschema_description:"headers of the request, all of these"`
	Spent    Share            `yaml:"spent,omitempty" jsonschema_description:"of the caller's tightest budget: >90%"`
}

// UnmarshalText takes an expression as it is; it is read when the route is made.
func (w *When) UnmarshalText(text []byte) error {
	if w.Text = strings.TrimSpace(string(text)); w.Text == "" {
		return errors.New("expected an expression such as tokens > 8000, or a mapping such as {tenant: acme}")
	}
	return nil
}

// plainWhen is a When without methods.
type plainWhen When

// MarshalYAML writes it as it is read.
func (w When) MarshalYAML() (any, error) {
	if w.Text != "" {
		return w.Text, nil
	}
	return plainWhen(w), nil
}

// String is the condition on one line, as it is written in a file.
func (w When) String() string {
	if w.Text != "" {
		return w.Text
	}
	var node yaml.Node
	if err := node.Encode(plainWhen(w)); err != nil {
		return ""
	}
	node.Style = yaml.FlowStyle
	text, err := yaml.Marshal(&node)
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

// IsZero tells the condition that all requests meet.
func (w When) IsZero() bool { return w.Text == "" && len(w.checks()) == 0 }

// Names are words of which any fits. Each may have one * for any text.
type Names []string

// UnmarshalYAML reads one name, or a list.
func (n *Names) UnmarshalYAML(node *yaml.Node) error {
	list, err := oneOrMore(node)
	for _, name := range list {
		if strings.Count(name, "*") > 1 {
			return fmt.Errorf("%q has more than one *", name)
		}
	}
	*n = list
	return err
}

// MarshalYAML writes them as they are read.
func (n Names) MarshalYAML() (any, error) {
	if len(n) == 1 {
		return n[0], nil
	}
	return []string(n), nil
}

func oneOrMore(node *yaml.Node) (list []string, err error) {
	items := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		items = node.Content
	}
	for _, item := range items {
		if item.Kind != yaml.ScalarNode || item.Value == "" {
			return nil, errors.New("expected a name, or a list of names")
		}
		list = append(list, item.Value)
	}
	if len(list) == 0 {
		return nil, errors.New("expected at least one name")
	}
	return list, nil
}

func (n Names) fit(name string) bool {
	for _, pattern := range n {
		if wire.MatchModel(pattern, name) {
			return true
		}
	}
	return false
}

// Modalities are what a request may hold, of which any fits.
type Modalities []string

var modalities = map[string]func(q *Query) bool{
	"text":  func(q *Query) bool { return !q.Images && !q.Audio && !q.Files },
	"image": func(q *Query) bool { return q.Images },
	"audio": func(q *Query) bool { return q.Audio },
	"file":  func(q *Query) bool { return q.Files },
	"tools": func(q *Query) bool { return q.Tools },
	"json":  func(q *Query) bool { return q.JSON },
}

// Choices are the words that a condition's modality may be.
func (Modalities) Choices() []string {
	return []string{"text", "image", "audio", "file", "tools", "json"}
}

// UnmarshalYAML reads one, or a list.
func (m *Modalities) UnmarshalYAML(node *yaml.Node) error {
	list, err := oneOrMore(node)
	for _, name := range list {
		if modalities[name] == nil {
			return fmt.Errorf("unknown modality %q (choices: %s)", name, strings.Join(m.Choices(), ", "))
		}
	}
	*m = list
	return err
}

// MarshalYAML writes them as they are read.
func (m Modalities) MarshalYAML() (any, error) { return Names(m).MarshalYAML() }

func (m Modalities) fit(q *Query) bool {
	return slices.ContainsFunc(m, func(name string) bool { return modalities[name](q) })
}

// condition is a When that can be asked. Nil fits all requests.
type condition struct {
	fits  func(q *Query) bool
	needs Needs
	text  string // as people write it
}

// compile makes a condition; nil for one that all requests meet. It is an error where the expression is wrong.
func (w When) compile() (*condition, error) {
	if w.Text != "" {
		return compileExpression(w.Text)
	}
	checks := w.checks()
	if len(checks) == 0 {
		return nil, nil
	}
	c := &condition{needs: NeedsModel, text: w.String()}
	for _, k := range checks {
		c.needs |= k.needs
	}
	c.fits = func(q *Query) bool {
		for i := range checks {
			if !checks[i].fits(q) {
				return false
			}
		}
		return true
	}
	return c, nil
}

// checks are what the keys that are set ask for, the cheapest first.
func (w When) checks() (list []condition) {
	add := func(set bool, needs Needs, fits func(q *Query) bool) {
		if set {
			list = append(list, condition{fits: fits, needs: needs})
		}
	}
	names := func(n Names, of func(q *Query) string) {
		add(len(n) > 0, NeedsWho, func(q *Query) bool { return n.fit(of(q)) })
	}
	add(len(w.Model) > 0, NeedsModel, func(q *Query) bool { return w.Model.fit(q.Model) })
	names(w.Tenant, func(q *Query) string { return q.Tenant })
	names(w.Team, func(q *Query) string { return q.Team })
	names(w.Key, func(q *Query) string { return q.Key })
	names(w.Role, func(q *Query) string { return q.Role })
	names(w.User, func(q *Query) string { return q.User })
	names(w.Scene, func(q *Query) string { return q.Scene })
	add(len(w.Tag) > 0, NeedsWho, func(q *Query) bool { return slices.ContainsFunc(q.Tags, w.Tag.fit) })
	add(w.Stream != nil, NeedsWho, func(q *Query) bool { return q.Stream == *w.Stream })
	add(!w.Time.IsZero(), NeedsModel, func(q *Query) bool { return w.Time.contain(q.Now) })
	for name, values := range w.Header {
		names(values, func(q *Query) string { return q.header(name) })
	}
	add(!w.Spent.IsZero(), NeedsSpent, func(q *Query) bool { return w.Spent.contain(q.Spent) })
	add(!w.Tokens.IsZero(), NeedsBody, func(q *Query) bool { return w.Tokens.contain(float64(q.Tokens)) })
	add(len(w.Modality) > 0, NeedsBody, w.Modality.fit)
	return list
}

// mostHeader bounds what conditions look at: a longer header is as good as none.
const mostHeader = 4 << 10

// header is a header of the request, "" where it has none.
func (q *Query) header(name string) string {
	if q.Header == nil {
		return ""
	}
	if v := q.Header(name); len(v) <= mostHeader {
		return v
	}
	return ""
}
