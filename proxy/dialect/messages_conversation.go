package dialect

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// Anthropic's conversations begin with the user, and most models' end there too. These stand where the client's has no
// such turn: they say as little as the API takes.
const (
	openingText = "."
	closingText = "Continue."
)

// readTurns brings the conversation into the order that Anthropic wants: the user's turns and the assistant's alternate,
// results of tools come first in theirs. Instructions in the middle keep their place, which most models have no role for:
// they become text of the user's, inside <system> and </system>.
func (b *messagesBody) readTurns() (err error) {
	if b.system, err = b.readBlocks(b.r.System, RoleSystem); err != nil {
		return err
	}
	for i := range b.r.Turns {
		turn, err := b.readTurn(&b.r.Turns[i])
		if err != nil {
			return err
		}
		if len(turn.Blocks) == 0 {
			continue
		}
		if n := len(b.turns); n > 0 && b.turns[n-1].Role == turn.Role {
			b.turns[n-1].Blocks = append(b.turns[n-1].Blocks, turn.Blocks...)
		} else {
			b.turns = append(b.turns, turn)
		}
	}
	for _, turn := range b.turns {
		slices.SortStableFunc(turn.Blocks, func(x, y Block) int { return last(x) - last(y) })
	}
	if err := b.stillAsks(); err != nil {
		return err
	}
	b.bound()
	return nil
}

// last sorts what must come first: results of tools, and nothing else, as thoughts stand where they were thought.
func last(b Block) int {
	if b.Kind == ToolResult {
		return 0
	}
	return 1
}

// bound sees to the ends of the conversation.
func (b *messagesBody) bound() {
	filler := func(text string) Turn { return Turn{Blocks: []Block{{Kind: Text, Text: text}}} }
	if n := len(b.turns); n > 0 && b.turns[n-1].Role == RoleAssistant && !b.traits.noPrefill {
		blocks := b.turns[n-1].Blocks
		if end := &blocks[len(blocks)-1]; end.Kind == Text {
			end.Text = strings.TrimRight(end.Text, " \t\r\n") // Anthropic refuses white space at the end
		}
	}
	if len(b.turns) == 0 || b.turns[0].Role == RoleAssistant {
		b.turns = slices.Insert(b.turns, 0, filler(openingText))
	}
	if asked := b.r.Turns; b.prefilled() && (b.traits.noPrefill || asked[len(asked)-1].Role != RoleAssistant) {
		b.turns = append(b.turns, filler(closingText))
	}
}

// readTurn is what of a turn can be sent.
func (b *messagesBody) readTurn(turn *Turn) (Turn, error) {
	if turn.Name != "" {
		b.note(turn.Path + ".name")
	}
	blocks, err := b.readBlocks(turn.Blocks, turn.Role)
	if turn.Role != RoleSystem {
		return Turn{Role: turn.Role, Blocks: blocks}, err
	}
	if len(blocks) > 0 {
		blocks[0].Text = "<system>\n" + blocks[0].Text
		blocks[len(blocks)-1].Text += "\n</system>"
	}
	return Turn{Role: RoleUser, Blocks: blocks}, err
}

// readBlocks copies the blocks that can be sent.
func (b *messagesBody) readBlocks(blocks []Block, role Role) (list []Block, err error) {
	for _, block := range blocks {
		ok := false
		switch block.Kind {
		case Text, Refusal:
			block.Kind, ok = Text, strings.TrimSpace(block.Text) != "" // Anthropic refuses what is blank
		case Thinking:
			ok = role == RoleAssistant && (block.Signature != "" || block.Redacted != "")
		case ToolUse:
			ok = true
		case ToolResult:
			if ok = !b.orphan(&block); !ok {
				continue
			}
			block.Content, err = b.readBlocks(block.Content, role)
		case Image, Document, Audio:
			ok, err = b.readMedia(&block, role)
		case Other:
			if ok = role == RoleUser && slices.Contains(messagesParts, gjson.Get(block.Raw, "type").Str); !ok {
				err = b.refuseBlock(&block, "a part of this type is not known to Anthropic")
			}
		}
		if err != nil {
			return nil, err
		}
		if ok {
			list = append(list, block)
		}
	}
	return list, nil
}

// messagesParts are parts of Anthropic's own that clients of other dialects may send as extensions.
var messagesParts = []string{"document", "search_result", "container_upload"}

var messagesImages = []string{"image/png", "image/jpeg", "image/gif", "image/webp"}

// readMedia brings an image or a document into a form that Anthropic takes.
func (b *messagesBody) readMedia(block *Block, role Role) (ok bool, err error) {
	m, why := *block.Media, ""
	switch {
	case role != RoleUser:
		why = "only the user can send files"
	case block.Kind == Audio:
		why = "Anthropic's models do not hear"
	case m.FileID != "":
		why = "a file that is kept at another provider cannot be sent"
	case m.URL != "" || m.Text != "":
	case block.Kind == Image && !slices.Contains(messagesImages, m.Type):
		why = "Anthropic takes images of type png, jpeg, gif and webp"
	case block.Kind == Document && m.Type != "application/pdf":
		if m.Text, ok = textOf(&m); !ok {
			why = "Anthropic takes documents of type PDF and text"
		}
		m.Data = ""
	}
	if m.Detail != "" && m.Detail != "auto" {
		b.note(block.Path + b.path(".image_url.detail", ".detail"))
	}
	block.Media = &m
	if why != "" {
		return false, b.refuse(block.Path, why)
	}
	return true, nil
}

// textOf decodes a document that is text.
func textOf(m *Media) (string, bool) {
	if !strings.HasPrefix(m.Type, "text/") && m.Type != "application/json" && m.Type != "application/xml" {
		return "", false
	}
	text, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(m.Data, "="))
	return strings.ToValidUTF8(string(text), "\uFFFD"), err == nil && len(text) > 0
}

func (b *messagesBody) appendSystem(dst []byte) []byte {
	if len(b.system) == 0 {
		return dst
	}
	return b.appendBlocks(key(dst, "system"), b.system)
}

func (b *messagesBody) appendTurns(dst []byte) []byte {
	dst = append(key(dst, "messages"), '[')
	for _, turn := range b.turns {
		role := "user"
		if turn.Role == RoleAssistant {
			role = "assistant"
		}
		dst = field(append(comma(dst), '{'), "role", role)
		dst = append(b.appendBlocks(key(dst, "content"), turn.Blocks), '}')
	}
	return append(dst, ']')
}

func (b *messagesBody) appendBlocks(dst []byte, blocks []Block) []byte {
	dst = append(dst, '[')
	for i := range blocks {
		dst = b.appendBlock(comma(dst), &blocks[i])
	}
	return append(dst, ']')
}

func (b *messagesBody) appendBlock(dst []byte, block *Block) []byte {
	switch block.Kind {
	case Text:
		dst = field(append(dst, `{"type":"text"`...), "text", block.Text)
	case Image, Document:
		dst = appendMessagesMedia(dst, block)
	case Thinking:
		if block.Redacted != "" {
			return append(field(append(dst, `{"type":"redacted_thinking"`...), "data", block.Redacted), '}')
		}
		dst = field(append(dst, `{"type":"thinking"`...), "thinking", block.Text)
		return append(field(dst, "signature", block.Signature), '}') // thoughts take no cache_control
	case ToolUse:
		dst = field(append(dst, `{"type":"tool_use"`...), "id", toolID(block.ID, mostToolID))
		dst = field(dst, "name", b.toolName(block.Name, mostToolName))
		dst = append(key(dst, "input"), b.callInput(block)...)
	case ToolResult:
		dst = field(append(dst, `{"type":"tool_result"`...), "tool_use_id", toolID(block.ID, mostToolID))
		if len(block.Content) > 0 {
			dst = b.appendBlocks(key(dst, "content"), block.Content)
		}
		if block.IsError {
			dst = boolField(dst, "is_error", true)
		}
	case Other:
		return append(dst, block.Raw...)
	}
	if block.Cache != "" && !b.unmarked[block.Path] {
		dst = rawField(dst, "cache_control", block.Cache)
	}
	return append(dst, '}')
}

const mostToolID = 64

// appendMessagesMedia appends an image or a document without the closing brace.
func appendMessagesMedia(dst []byte, block *Block) []byte {
	kind := "image"
	if block.Kind == Document {
		kind = "document"
	}
	dst = append(key(field(append(dst, '{'), "type", kind), "source"), '{')
	switch m := block.Media; {
	case m.URL != "":
		dst = field(append(dst, `"type":"url"`...), "url", m.URL)
	case m.Text != "":
		dst = field(append(dst, `"type":"text","media_type":"text/plain"`...), "data", m.Text)
	default:
		dst = field(append(dst, `"type":"base64"`...), "media_type", m.Type)
		dst = append(append(key(dst, "data"), '"'), m.Data...)
		dst = append(dst, '"')
	}
	dst = append(dst, '}')
	if block.Kind == Document && block.Media.Name != "" {
		dst = field(dst, "title", block.Media.Name)
	}
	return dst
}
