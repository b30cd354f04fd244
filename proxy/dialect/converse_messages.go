package dialect

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// converseMessage is the message that blocks are being written to.
type converseMessage struct {
	role           string // "" when none is open
	text, document bool   // it has one
}

// appendMessages writes the turns. Roles alternate there and the user begins, so neighbours with the same role become one
// message. Instructions in the middle of a conversation become text of the user's in <system> tags: some models do take
// messages of the role system, but most refuse them.
func (c *converseRequest) appendMessages(dst []byte) ([]byte, error) {
	dst = append(key(dst, "messages"), '[')
	var err error
	for turns := c.Request.Turns; err == nil && len(turns) > 0; {
		n := slices.IndexFunc(turns, func(t Turn) bool { return (t.Role == RoleAssistant) != (turns[0].Role == RoleAssistant) })
		if n < 0 {
			n = len(turns)
		}
		dst, err = c.appendTurns(dst, turns[:n], n == len(turns))
		turns = turns[n:]
	}
	if err == nil {
		err = c.stillAsks()
	}
	if err != nil {
		return nil, err
	}
	switch {
	case c.message.role == "":
		dst = appendConverseText(c.openMessage(dst, "user"), openingText)
	case c.message.role == "assistant" && !c.prefilled():
		dst = appendConverseText(c.openMessage(dst, "user"), closingText)
	}
	return append(c.closeMessage(dst), ']'), nil
}

// appendTurns writes neighbours of one role. Results of tools come first: they must follow their calls. last tells that
// nothing follows.
func (c *converseRequest) appendTurns(dst []byte, turns []Turn, last bool) (_ []byte, err error) {
	role := "user"
	if turns[0].Role == RoleAssistant {
		role = "assistant"
	}
	for _, results := range []bool{true, false} {
		for i := range turns {
			turn := &turns[i]
			if turn.Name != "" && results {
				c.note(turn.Path + ".name")
			}
			for j := range turn.Blocks {
				b := turn.Blocks[j]
				if (b.Kind == ToolResult) != results {
					continue
				}
				if b.Kind == Text && turn.Role == RoleSystem && !blank(b.Text) {
					b.Text = "<system>\n" + b.Text + "\n</system>"
				}
				if b.Kind == Text && role == "assistant" && last && i == len(turns)-1 && j == len(turn.Blocks)-1 {
					b.Text = strings.TrimRight(b.Text, " \t\r\n") // Claude refuses to go on after white space
				}
				if dst, err = c.appendBlock(dst, role, &b); err != nil {
					return nil, err
				}
			}
		}
	}
	return dst, nil
}

// appendBlock writes a block to the open message, if that has the role, or to a new one. A block that leaves nothing
// behind opens none.
func (c *converseRequest) appendBlock(dst []byte, role string, b *Block) ([]byte, error) {
	before, was := len(dst), c.message
	if c.message.role != role {
		dst = c.openMessage(dst, role)
	}
	start := len(dst)
	dst, err := c.appendContent(dst, role, b)
	if err != nil {
		return nil, err
	}
	if len(dst) == start {
		c.message = was
		if b.Cache != "" {
			c.note(c.markerPath(b))
		}
		return dst[:before], nil
	}
	return c.appendMarker(dst, b), nil
}

// appendMarker writes the cache marker of a block, or of what is in a result, which can only be marked as a whole.
func (c *converseRequest) appendMarker(dst []byte, b *Block) []byte {
	if b.Cache != "" && !c.unmarked[b.Path] {
		return c.appendCache(dst, b)
	}
	for i := range b.Content {
		if part := &b.Content[i]; part.Cache != "" && !c.unmarked[part.Path] {
			return c.appendCache(dst, part)
		}
	}
	return dst
}

func (c *converseRequest) openMessage(dst []byte, role string) []byte {
	first := c.message.role == ""
	dst = c.closeMessage(dst)
	if first && role == "assistant" {
		dst = appendConverseText(append(comma(dst), `{"role":"user","content":[`...), openingText)
		dst = append(dst, ']', '}')
	}
	c.message = converseMessage{role: role}
	dst = field(append(comma(dst), '{'), "role", role)
	return append(key(dst, "content"), '[')
}

// closeMessage ends the open message. One with a document must have text too.
func (c *converseRequest) closeMessage(dst []byte) []byte {
	if c.message.role == "" {
		return dst
	}
	if c.message.document && !c.message.text {
		dst = appendConverseText(dst, "See the document.")
	}
	return append(dst, ']', '}')
}

// appendContent writes one block, or nothing.
func (c *converseRequest) appendContent(dst []byte, role string, b *Block) ([]byte, error) {
	if len(b.Citations) > 0 {
		c.note(b.Path + ".citations")
	}
	switch b.Kind {
	case Text, Refusal:
		if blank(b.Text) {
			return dst, nil
		}
		c.message.text = true
		return appendConverseText(dst, b.Text), nil
	case Image, Document, Audio:
		if role == "assistant" {
			return dst, c.refuse(b.Path, "an answer can only hold text, thoughts and calls")
		}
		return c.appendMedia(dst, b)
	case Thinking:
		return c.appendThought(dst, b), nil
	case ToolUse:
		dst = append(comma(dst), `{"toolUse":{`...)
		dst = field(dst, "toolUseId", toolID(b.ID, mostConverseName))
		dst = field(dst, "name", c.toolName(b.Name, mostConverseName))
		return append(rawField(dst, "input", c.callInput(b)), '}', '}'), nil
	case ToolResult:
		if c.orphan(b) {
			return dst, nil
		}
		return c.appendResult(dst, b)
	}
	return dst, c.refuseBlock(b, "blocks of this type have no counterpart in Converse")
}

// appendThought writes a thought of the model's own. Models other than Claude have no use for their thoughts of before,
// and refuse those of others.
func (c *converseRequest) appendThought(dst []byte, b *Block) []byte {
	if !c.is(claudeFamily) {
		return dst
	}
	hidden, ok := base64Of(b.Redacted)
	switch {
	case ok:
		dst = append(comma(dst), `{"reasoningContent":{`...)
		return append(field(dst, "redactedContent", hidden), '}', '}')
	case b.Redacted != "":
		c.note(b.Path)
	case b.Signature != "":
		dst = append(comma(dst), `{"reasoningContent":{"reasoningText":{`...)
		dst = field(dst, "text", b.Text)
		return append(field(dst, "signature", b.Signature), '}', '}', '}')
	}
	return dst
}

// appendResult writes what a tool answered. Bedrock wants content there, even of a tool that has nothing to say.
func (c *converseRequest) appendResult(dst []byte, b *Block) (_ []byte, err error) {
	dst = append(comma(dst), `{"toolResult":{`...)
	dst = field(dst, "toolUseId", toolID(b.ID, mostConverseName))
	dst = append(key(dst, "content"), '[')
	start := len(dst)
	for i := range b.Content {
		part := &b.Content[i]
		switch part.Kind {
		case Text, Refusal:
			if !blank(part.Text) {
				dst = appendConverseText(dst, part.Text)
			}
		case Image, Document:
			has := c.message.document // this one stands in the result, not beside it
			dst, err = c.appendMedia(dst, part)
			c.message.document = has
		default:
			if text, ok := c.toolReference(part, mostConverseName); ok {
				dst = appendConverseText(dst, text)
			} else {
				err = c.refuse(part.Path, "a result can only hold text, images and documents")
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if len(dst) == start {
		dst = appendConverseText(dst, "(no output)")
	}
	dst = append(dst, ']')
	if b.IsError {
		if c.is(claudeFamily, novaFamily, nova2Family) {
			dst = field(dst, "status", "error")
		} else {
			c.note(b.Path + ".is_error")
		}
	}
	return append(dst, '}', '}'), nil
}

// appendMedia writes an image, a document or a sound. Converse takes bytes, not addresses.
func (c *converseRequest) appendMedia(dst []byte, b *Block) ([]byte, error) {
	m := b.Media
	if why := c.unfit(b); why != "" {
		return dst, c.refuse(b.Path, why)
	}
	if m.Data == "" && m.Text == "" {
		return dst, wire.Invalid(b.Path, "%s is empty.", b.Path)
	}
	if m.Detail != "" && m.Detail != "auto" {
		c.note(b.Path + c.where(".image_url.detail", ".detail", ".detail"))
	}
	kind, format := converseFormat(b)
	dst = append(key(append(comma(dst), '{'), kind), '{')
	dst = field(dst, "format", format)
	if kind == "document" {
		c.message.document = true
		dst = field(dst, "name", c.documentName(m.Name))
		dst = appendDocumentOptions(dst, b.Raw)
	}
	dst = append(dst, `,"source":{"bytes":"`...)
	if m.Data != "" {
		dst = append(dst, m.Data...)
	} else {
		dst = base64.StdEncoding.AppendEncode(dst, []byte(m.Text))
	}
	return append(dst, `"}}}`...), nil
}

// unfit is why an image, a document or a sound cannot be sent; "" when it can.
func (c *converseRequest) unfit(b *Block) string {
	m := b.Media
	kind, format := converseFormat(b)
	switch {
	case m.Data == "" && m.URL != "":
		return "a URL cannot be sent: the bytes must be in the request, unless the operator sets `fetch_urls: true`"
	case m.Data == "" && m.FileID != "":
		return "files kept at another provider cannot be sent: the bytes must be in the request"
	case m.Data == "" && m.Text == "": // which is an error of its own
		return ""
	case format == "" || kind == "audio" && c.family == claudeFamily:
		return fmt.Sprintf("media of type %q cannot be sent", cmp.Or(m.Type, "unknown"))
	}
	return ""
}

// sends reports whether a block is sent.
func (c *converseRequest) sends(b *Block, role Role) bool {
	if b.Kind == Image || b.Kind == Document || b.Kind == Audio {
		return role == RoleUser && c.unfit(b) == ""
	}
	return b.Kind != Other
}

// appendDocumentOptions writes what Anthropic's dialect has beside a document's source.
func appendDocumentOptions(dst []byte, raw string) []byte {
	if raw == "" {
		return dst
	}
	options := gjson.Parse(raw)
	if about := options.Get("context"); about.Type == gjson.String && about.Str != "" {
		dst = rawField(dst, "context", about.Raw)
	}
	if options.Get("citations.enabled").Bool() {
		dst = append(key(dst, "citations"), `{"enabled":true}`...)
	}
	return dst
}

// converseFormat tells which member of a block media is, and what Converse calls its format, "" when it has none.
func converseFormat(b *Block) (kind, format string) {
	m := b.Media
	mime := cmp.Or(m.Type, mimeByName(m.Name))
	switch b.Kind {
	case Image:
		switch mime {
		case "image/png", "image/jpeg", "image/gif", "image/webp":
			return "image", strings.TrimPrefix(mime, "image/")
		}
		return "image", ""
	case Audio:
		switch mime {
		case "audio/aac", "audio/opus":
			return "audio", strings.TrimPrefix(mime, "audio/")
		}
		if strings.HasPrefix(mime, "audio/") {
			return "audio", formatOf(mime)
		}
		return "audio", ""
	}
	if m.Text != "" {
		mime = cmp.Or(mime, "text/plain")
	}
	if strings.HasPrefix(mime, "audio/") {
		return "document", ""
	}
	return "document", formatOf(mime)
}

// documentName makes a name that Bedrock takes: letters, digits, single spaces, hyphens, brackets, and each only once.
func (c *converseRequest) documentName(name string) string {
	if ext := path.Ext(name); mimeOf(strings.TrimPrefix(ext, ".")) != "" {
		name = strings.TrimSuffix(name, ext)
	}
	name = strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && unfit(r) && !strings.ContainsRune("()[]", r) || r >= utf8.RuneSelf || r == '_' {
			return ' '
		}
		return r
	}, name)
	name = strings.Join(strings.Fields(name), " ")
	const most = 190 // of 200, so that there is room for a number
	name = cmp.Or(strings.TrimSpace(name[:min(len(name), most)]), "document")
	unique, n := name, max(c.documents[name], 2)
	for ; c.documents[unique] > 0; n++ {
		unique = name + " " + strconv.Itoa(n)
	}
	c.documents[unique] = 1
	c.documents[name] = n
	return unique
}
