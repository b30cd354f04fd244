package flows

import (
	"errors"
	"fmt"
	"maps"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"
)

// Bounds of an expression. Loops stand in no other loop, and see nothing large but their own item; nothing makes a text or a
// list longer than what it is made of. So what an expression costs grows with its own length and that of what it looks at, no faster.
const (
	mostExpression = 8 << 10 // bytes
	mostNodes      = 300
	mostMemory     = 100_000 // items of lists
	mostPattern    = 500     // steps of a regular expression
)

// functions are those of expr's own that are bounded.
var functions = strings.Fields("all any none one count filter map find first last take len join split lower upper trim trimPrefix trimSuffix hasPrefix hasSuffix indexOf abs ceil floor round int float string min max")

// plainFrom are functions whose arguments behind the first are plain text: what they do with long ones is not bounded.
var plainFrom = strings.Fields("join split trim")

// names are what expressions know, beside the steps.
var names = types.Map{
	"input":    types.String,
	"messages": types.Array(types.Any),
	"vars":     types.TypeOf(map[string]string(nil)),
	"tenant":   types.String,
	"scene":    types.String,
}

// step is what expressions know of one: nothing of what is nil.
var step = types.Map{
	"text":    types.String,
	"finish":  types.String,
	"json":    types.Any,
	"skipped": types.Bool,
	"error":   types.Map{"code": types.String, "status": types.Int, "message": types.String},
	"items":   types.Array(types.Any), // of each
}

// expression is one that was compiled.
type expression struct {
	text string
	code *vm.Program
}

// run evaluates it. An error says what, not of what.
func (e *expression) run(env map[string]any) (any, error) {
	machine := vm.VM{MemoryBudget: mostMemory}
	v, err := machine.Run(e.code, env)
	if err != nil {
		return nil, fmt.Errorf("the expression %s came to nothing: %s", shorten(e.text), message(err))
	}
	return v, nil
}

// message is what expr says, on one line.
func message(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	if at := errorAt(err); at != nil {
		text, _, _ = strings.Cut(at.Message, "\n")
	}
	return text
}

func errorAt(err error) *file.Error {
	var at *file.Error
	errors.As(err, &at)
	return at
}

func shorten(text string) string {
	const most = 60
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// scope is what an expression may see where it stands.
type scope struct {
	before []string // steps
	later  []string
	item   string // of each, "" elsewhere
	looks  bool   // some expression looks at the messages
}

func (s *scope) compile(text string, options ...expr.Option) (*expression, error) {
	if len(text) > mostExpression {
		return nil, fmt.Errorf("the expression is longer than %d KiB", mostExpression>>10)
	}
	options = append(options, expr.Env(s.env()), expr.MaxNodes(mostNodes), expr.DisableAllBuiltins(), expr.Patch(&filler{}))
	for _, name := range functions {
		options = append(options, expr.EnableBuiltin(name))
	}
	if err := s.inspect(text, options); err != nil {
		return nil, s.worded(err)
	}
	code, err := expr.Compile(text, append(options, joining)...)
	if err != nil {
		return nil, s.worded(err)
	}
	return &expression{text: text, code: code}, nil
}

func (s *scope) env() types.Map {
	steps := types.Map{}
	for _, id := range s.before {
		steps[id] = step
	}
	env := maps.Clone(names)
	env["steps"] = steps
	if s.item != "" {
		env[s.item] = types.Any
	}
	return env
}

// worded is what is wrong with an expression on one line, with the names that there are where one is unknown.
func (s *scope) worded(err error) error {
	at := errorAt(err)
	if at == nil {
		return fmt.Errorf("the expression is wrong: %s", message(err))
	}
	text := message(err)
	switch {
	case strings.HasPrefix(text, "unknown name"):
		known := append(slices.Sorted(maps.Keys(names)), "steps")
		if s.item != "" {
			known = append(known, s.item)
		}
		text += " (names: " + strings.Join(known, ", ") + "; functions: " + strings.Join(functions, ", ") + ")"
	case strings.HasPrefix(text, "unknown field"):
		text += " (of a step: " + strings.Join(slices.Sorted(maps.Keys(step)), ", ") + "; of its error: code, message, status)"
	}
	return fmt.Errorf("the expression is wrong at its character %d: %s", at.Column+1, text)
}

// inspect looks through an expression before anything of it is compiled.
func (s *scope) inspect(text string, options []expr.Option) error {
	config := conf.CreateNew()
	for _, option := range options {
		option(config)
	}
	for name := range config.Disabled {
		delete(config.Builtins, name)
	}
	tree, err := parser.ParseWithConfig(text, config)
	if err != nil {
		return err
	}
	c := &inspector{scope: s}
	ast.Walk(&tree.Node, c)
	return c.err
}

// inspector finds what is not bounded, and steps that are not there.
type inspector struct {
	scope *scope
	err   error
	errAt int
}

// Visit looks at one part, after the parts of it. All that is not known to be bounded is refused.
func (c *inspector) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.NilNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.StringNode, *ast.ConstantNode, *ast.UnaryNode, *ast.ChainNode,
		*ast.SliceNode, *ast.PointerNode, *ast.ConditionalNode, *ast.ArrayNode, *ast.IdentifierNode:
	case *ast.MemberNode:
		c.member(n)
	case *ast.BuiltinNode:
		c.builtin(n)
	case *ast.BinaryNode:
		_, plain := n.Right.(*ast.StringNode)
		switch {
		case n.Operator == "..":
			c.refuse(n, "a range is not supported")
		case n.Operator == "matches" && !plain:
			c.refuse(n, "a pattern that is no plain text is not supported")
		case n.Operator == "matches" && steps(n.Right.(*ast.StringNode).Value) > mostPattern:
			c.refuse(n, "the pattern is too large (counts such as {1,1000} make it longer)")
		}
	case *ast.PredicateNode:
		c.loop(n)
	case *ast.CallNode:
		c.refuse(n, "unknown name "+n.Callee.String())
	default:
		c.refuse(n, strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", n), "*ast."), "Node")+" is not supported")
	}
	switch id, _ := (*node).(*ast.IdentifierNode); {
	case id == nil:
	case id.Value == "$env":
		c.refuse(id, "$env is not supported")
	case id.Value == "messages":
		c.scope.looks = true
	}
}

// steps is how many a pattern has once its counts are written out: each letter of a text may have to be held against every one.
func steps(pattern string) int {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0 // the compiler tells
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return 0
	}
	return len(program.Inst)
}

// member looks whether the step in steps.ID is there by then.
func (c *inspector) member(n *ast.MemberNode) {
	root, ok := n.Node.(*ast.IdentifierNode)
	if !ok || root.Value != "steps" {
		return
	}
	id, plain := n.Property.(*ast.StringNode)
	switch {
	case !plain:
		c.refuse(n, "steps[...] is not supported: write steps.ID")
	case slices.Contains(c.scope.before, id.Value):
	case slices.Contains(c.scope.later, id.Value):
		c.refuse(n, "step "+id.Value+" has not run by then ("+c.before()+")")
	default:
		c.refuse(n, "unknown step "+id.Value+" ("+c.before()+")")
	}
}

func (c *inspector) before() string {
	if len(c.scope.before) == 0 {
		return "no step has"
	}
	return "steps before: " + strings.Join(c.scope.before, ", ")
}

func (c *inspector) builtin(n *ast.BuiltinNode) {
	if !slices.Contains(plainFrom, n.Name) {
		return
	}
	for _, argument := range n.Arguments[min(1, len(n.Arguments)):] {
		switch argument.(type) {
		case *ast.StringNode, *ast.IntegerNode:
		default:
			c.refuse(n, n.Name+" with anything but a plain text behind the first is not supported")
		}
	}
}

// loop keeps the body of a loop from making something large of every item.
func (c *inspector) loop(n *ast.PredicateNode) {
	ast.Find(n.Node, func(inner ast.Node) bool {
		switch inner := inner.(type) {
		case *ast.PredicateNode:
			c.refuse(n, "a loop inside a loop is not supported")
		case *ast.IdentifierNode:
			if slices.Contains([]string{"input", "messages", "steps"}, inner.Value) || inner.Value == c.scope.item && inner.Value != "" {
				c.refuse(inner, inner.Value+" inside a loop is not supported")
			}
		}
		return false
	})
}

// refuse notes the first thing that is wrong, as people read.
func (c *inspector) refuse(n ast.Node, what string) {
	if at := n.Location().From; c.err == nil || at < c.errAt {
		c.err, c.errAt = &file.Error{Location: n.Location(), Column: at, Message: what}, at
	}
}

// joining puts join in the place of expr's own, which has no bound: what stands between may be longer than the items.
var joining = expr.Function("join", func(args ...any) (any, error) {
	list, ok := listOf(args[0])
	if !ok {
		return nil, errors.New("join takes a list")
	}
	between := ""
	if len(args) > 1 {
		between, _ = args[1].(string) // the inspector lets nothing else through
	}
	var b strings.Builder
	for i, item := range list {
		text, ok := item.(string)
		if !ok {
			return nil, errors.New("join takes a list of texts")
		}
		if i > 0 {
			b.WriteString(between)
		}
		if b.WriteString(text); b.Len() > mostText {
			return nil, errTooLong
		}
	}
	return b.String(), nil
}, new(func([]any) string), new(func([]any, string) string), new(func([]string) string), new(func([]string, string) string))

// filler makes a text of a step that has none, such as one that was skipped, empty, except where an expression asks whether there
// is one: on the left of ??, and beside == and !=.
type filler struct{ made map[*ast.BinaryNode]bool }

// Visit comes to the parts of a node first.
func (f *filler) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.MemberNode:
		property, plain := n.Property.(*ast.StringNode)
		if plain && (property.Value == "text" || property.Value == "finish") && isStep(n.Node) {
			filled := &ast.BinaryNode{Operator: "??", Left: n, Right: &ast.StringNode{}}
			if f.made == nil {
				f.made = map[*ast.BinaryNode]bool{}
			}
			f.made[filled] = true
			ast.Patch(node, filled)
		}
	case *ast.BinaryNode:
		if n.Operator == "??" || n.Operator == "==" || n.Operator == "!=" {
			f.bare(&n.Left)
			f.bare(&n.Right)
		}
	}
}

func (f *filler) bare(node *ast.Node) {
	if n, ok := (*node).(*ast.BinaryNode); ok && f.made[n] {
		*node = n.Left
	}
}

func isStep(node ast.Node) bool {
	n, ok := node.(*ast.MemberNode)
	if !ok {
		return false
	}
	root, ok := n.Node.(*ast.IdentifierNode)
	return ok && root.Value == "steps"
}
