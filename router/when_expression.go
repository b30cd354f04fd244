package router

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"
)

// Bounds of an expression. It has no variables, no loops inside loops, and nothing that makes a text or a list longer than
// what it is made of; so what it costs is bounded by its own length and that of the request's metadata and headers.
const (
	mostExpression = 8 << 10 // bytes
	mostNodes      = 1000
	mostMemory     = 10_000 // items of lists
)

// expressionFunctions are those of expr's own that are bounded.
var expressionFunctions = strings.Fields("all any none one count len lower upper trim trimPrefix trimSuffix hasPrefix hasSuffix indexOf abs ceil floor round int float min max")

// value is a name that expressions know.
type value struct {
	name  string
	needs Needs
	zero  any
	// next is what it is now, if that is not what it was: to put a value into an interface costs an allocation. Nil never changes.
	next func(was any, q *Query) (now any, changed bool)
}

func valueOf[T comparable](name string, needs Needs, get func(q *Query) T) value {
	var zero T
	return value{name, needs, zero, func(was any, q *Query) (any, bool) {
		if v := get(q); was.(T) != v {
			return v, true
		}
		return nil, false
	}}
}

// textOf copies the text, which may be part of a request that is gone when the next one is looked at.
func textOf(name string, needs Needs, get func(q *Query) string) value {
	return value{name, needs, "", func(was any, q *Query) (any, bool) {
		if v := get(q); was.(string) != v {
			return strings.Clone(v), true
		}
		return nil, false
	}}
}

var values = []value{
	textOf("tenant", NeedsWho, func(q *Query) string { return q.Tenant }),
	textOf("team", NeedsWho, func(q *Query) string { return q.Team }),
	textOf("key", NeedsWho, func(q *Query) string { return q.Key }),
	textOf("role", NeedsWho, func(q *Query) string { return q.Role }),
	textOf("user", NeedsWho, func(q *Query) string { return q.User }),
	textOf("scene", NeedsWho, func(q *Query) string { return q.Scene }),
	{"tags", NeedsWho, []string(nil), func(was any, q *Query) (any, bool) {
		if !slices.Equal(was.([]string), q.Tags) {
			return slices.Clone(q.Tags), true
		}
		return nil, false
	}},
	textOf("model", NeedsModel, func(q *Query) string { return q.Model }),
	valueOf("stream", NeedsWho, func(q *Query) bool { return q.Stream }),
	valueOf("tokens", NeedsBody, func(q *Query) int { return int(q.Tokens) }),
	valueOf("max_tokens", NeedsBody, func(q *Query) int { return int(q.MaxTokens) }),
	valueOf("text", NeedsBody, modalities["text"]),
	valueOf("images", NeedsBody, modalities["image"]),
	valueOf("audio", NeedsBody, modalities["audio"]),
	valueOf("files", NeedsBody, modalities["file"]),
	valueOf("tools", NeedsBody, modalities["tools"]),
	valueOf("json", NeedsBody, modalities["json"]),
	valueOf("spent", NeedsSpent, func(q *Query) float64 { return q.Spent }),
	valueOf("hour", NeedsModel, func(q *Query) int { return q.Now.UTC().Hour() }),
	valueOf("minute", NeedsModel, func(q *Query) int { return q.Now.UTC().Minute() }),
	valueOf("weekday", NeedsModel, func(q *Query) string { return weekdays[q.Now.UTC().Weekday()] }),
	{"date", NeedsModel, "", func(was any, q *Query) (any, bool) {
		var space [len(time.DateOnly)]byte
		if day := q.Now.UTC().AppendFormat(space[:0], time.DateOnly); was.(string) != string(day) {
			return string(day), true
		}
		return nil, false
	}},
	{"header", NeedsWho, func(string) string { return "" }, nil},
	{"during", NeedsModel, func(string) bool { return false }, nil},
}

// valueNames are those names, as they are told in errors.
func valueNames() string {
	var names []string
	for _, v := range values {
		switch v.zero.(type) {
		case func(string) string, func(string) bool:
			names = append(names, v.name+"(text)")
		default:
			names = append(names, v.name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func newEnv() map[string]any {
	env := make(map[string]any, len(values))
	for _, v := range values {
		env[v.name] = v.zero
	}
	return env
}

// expression is one that was compiled.
type expression struct {
	code  *vm.Program
	looks []int             // at which values, of those that change
	hours map[string]*Hours // what during is called with
}

// run is what expressions are evaluated with, one at a time.
type run struct {
	vm  vm.VM
	env map[string]any
	was []any       // the values in it
	e   *expression // under way,
	q   *Query      // and of which request
}

// runs are used again: expressions of one request, and of those that follow, mostly see the same values, which then need not
// be put into interfaces anew. Without them an expression costs four times as much.
var runs = sync.Pool{New: func() any {
	r := &run{vm: vm.VM{MemoryBudget: mostMemory}, env: newEnv()}
	for _, v := range values {
		r.was = append(r.was, v.zero)
	}
	r.env["header"] = func(name string) string { return r.q.header(name) }
	r.env["during"] = func(text string) bool { return r.e.hours[text].contain(r.q.Now) }
	return r
}}

var expressionErrors atomic.Int64

// ExpressionErrors is how often an expression came to nothing, and so did not fit.
func ExpressionErrors() int64 { return expressionErrors.Load() }

func (e *expression) fits(q *Query) bool {
	r := runs.Get().(*run)
	r.e, r.q = e, q
	for _, i := range e.looks {
		if now, changed := values[i].next(r.was[i], q); changed {
			r.env[values[i].name], r.was[i] = now, now
		}
	}
	out, err := r.vm.Run(e.code, r.env)
	r.e, r.q = nil, nil
	runs.Put(r)
	if err != nil {
		expressionErrors.Add(1)
	}
	fits, _ := out.(bool)
	return fits && err == nil
}

func compileExpression(text string) (*condition, error) {
	if len(text) > mostExpression {
		return nil, fmt.Errorf("the expression is longer than %d KiB", mostExpression>>10)
	}
	options := []expr.Option{expr.Env(newEnv()), expr.AsBool(), expr.WarnOnAny(), expr.MaxNodes(mostNodes), expr.DisableAllBuiltins()}
	for _, name := range expressionFunctions {
		options = append(options, expr.EnableBuiltin(name))
	}
	check := &inspector{hours: map[string]*Hours{}, needs: NeedsModel}
	if err := check.inspect(text, options); err != nil {
		return nil, worded(err)
	}
	code, err := expr.Compile(text, options...)
	if err != nil {
		return nil, worded(err)
	}
	e := &expression{code: code, looks: check.looks, hours: check.hours}
	return &condition{fits: e.fits, needs: check.needs, text: text}, nil
}

// worded is what is wrong with an expression on one line, with the names that there are where one is unknown.
func worded(err error) error {
	var at *file.Error
	if !errors.As(err, &at) {
		return fmt.Errorf("the expression is wrong: %w", err)
	}
	message, _, _ := strings.Cut(at.Message, "\n")
	if strings.HasPrefix(message, "unknown name") {
		message += " (names: " + valueNames() + "; functions: " + strings.Join(expressionFunctions, ", ") + ")"
	}
	return fmt.Errorf("the expression is wrong at its character %d: %s", at.Column+1, message)
}

// inspector looks through an expression before anything of it is run.
type inspector struct {
	needs Needs
	looks []int
	hours map[string]*Hours
	err   error
}

func (c *inspector) inspect(text string, options []expr.Option) error {
	config := conf.CreateNew()
	for _, option := range options {
		option(config)
	}
	for name := range config.Disabled {
		delete(config.Builtins, name)
	}
	tree, err := checker.ParseCheck(text, config)
	if err != nil {
		return err
	}
	ast.Walk(&tree.Node, c)
	return c.err
}

// Visit looks at one part. All that is not known to be bounded is refused.
func (c *inspector) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.NilNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.StringNode, *ast.ConstantNode, *ast.UnaryNode, *ast.ChainNode,
		*ast.MemberNode, *ast.SliceNode, *ast.BuiltinNode, *ast.PointerNode, *ast.ConditionalNode, *ast.ArrayNode:
	case *ast.IdentifierNode:
		c.name(n)
	case *ast.BinaryNode:
		c.binary(n)
	case *ast.CallNode:
		c.call(n)
	case *ast.PredicateNode:
		if ast.Find(n.Node, func(inner ast.Node) bool { _, nested := inner.(*ast.PredicateNode); return nested }) != nil {
			c.refuse(n, "a loop inside a loop")
		}
	default:
		c.refuse(n, strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", n), "*ast."), "Node"))
	}
}

func (c *inspector) refuse(n ast.Node, what string) {
	if c.err == nil {
		c.err = &file.Error{Location: n.Location(), Column: n.Location().From, Message: what + " is not supported"}
	}
}

func (c *inspector) name(n *ast.IdentifierNode) {
	i := slices.IndexFunc(values, func(v value) bool { return v.name == n.Value })
	if i < 0 {
		c.refuse(n, n.Value)
		return
	}
	c.needs |= values[i].needs
	if values[i].next != nil && !slices.Contains(c.looks, i) {
		c.looks = append(c.looks, i)
	}
}

func (c *inspector) binary(n *ast.BinaryNode) {
	_, plain := n.Right.(*ast.StringNode)
	switch {
	case n.Operator == "..":
		c.refuse(n, "a range")
	case n.Operator == "matches" && !plain:
		c.refuse(n, "a pattern that is no plain text")
	case n.Operator == "+" && !n.Nature().IsInteger && !n.Nature().IsFloat:
		c.refuse(n, "to add what are no numbers")
	}
}

// call looks at header(name) and during(times).
func (c *inspector) call(n *ast.CallNode) {
	callee, named := n.Callee.(*ast.IdentifierNode)
	if !named {
		c.refuse(n, "this call")
		return
	}
	if callee.Value != "during" {
		return
	}
	text, plain := n.Arguments[0].(*ast.StringNode)
	if !plain {
		c.refuse(n, "during with anything but a plain text")
		return
	}
	hours := &Hours{}
	if err := hours.UnmarshalText([]byte(text.Value)); err != nil && c.err == nil {
		c.err = &file.Error{Location: n.Location(), Column: n.Location().From, Message: "during: " + err.Error()}
	}
	c.hours[text.Value] = hours
}
