package dialect

import (
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

func (w *chatBody) messages() error {
	w.dst = append(key(w.dst, "messages"), '[')
	if err := w.system(w.Request.System); err != nil {
		return err
	}
	turns, err := w.withoutPrefill()
	if err != nil {
		return err
	}
	for len(turns) > 0 {
		n := 0
		for n < len(turns) && (turns[n].Role == RoleAssistant) == (turns[0].Role == RoleAssistant) {
			n++
		}
		write := w.asks
		if turns[0].Role == RoleAssistant {
			write = w.answers
		}
		if err := write(turns[:n]); err != nil {
			return err
		}
		turns = turns[n:]
	}
	if w.dst[len(w.dst)-1] == '[' {
		return w.nothingLeft()
	}
	w.dst = append(w.dst, ']')
	return w.stillAsks()
}

// withoutPrefill is the conversation without the last turn that the client began for the model, which Anthropic's API has
// it go on with. The open engines can do that too.
func (w *chatBody) withoutPrefill() ([]Turn, error) {
	turns := w.Request.Turns
	for w.Request.From == wire.Message && len(turns) > 0 && turns[len(turns)-1].Role == RoleAssistant {
		if w.began = w.vllm; w.began {
			break
		}
		if err := w.refuse(turns[len(turns)-1].Path, "the model would not go on with an answer that was begun for it"); err != nil {
			return nil, err
		}
		turns = turns[:len(turns)-1]
	}
	return turns, nil
}

// system writes instructions as one message of one string, which every server understands.
func (w *chatBody) system(blocks []Block) error {
	if w.hasBreakpoint(blocks) {
		return w.markedSystem(blocks)
	}
	text, err := w.onlyText(blocks, "instructions are text there")
	if err != nil || text == "" {
		return err
	}
	w.message("system")
	w.dst = append(field(w.dst, "content", text), '}')
	return nil
}

func (w *chatBody) onlyText(blocks []Block, why string) (string, error) {
	var texts []string
	for i := range blocks {
		b := &blocks[i]
		w.cached(b)
		if b.Kind == Text {
			texts = append(texts, b.Text)
		} else if err := w.refuse(b.Path, why); err != nil {
			return "", err
		}
	}
	return strings.Join(texts, "\n\n"), nil
}

// message begins a message; the caller ends it.
func (w *chatBody) message(role string) {
	w.dst = field(append(comma(w.dst), '{'), "role", role)
}

// asks writes the turns between two answers: first all results of tools, which must follow the calls, then the rest.
func (w *chatBody) asks(turns []Turn) error {
	for i := range turns {
		for j := range turns[i].Blocks {
			if b := &turns[i].Blocks[j]; b.Kind == ToolResult && !w.orphan(b) {
				if err := w.result(b); err != nil {
					return err
				}
			}
		}
	}
	for i := range turns {
		if turns[i].Role == RoleSystem {
			if err := w.system(turns[i].Blocks); err != nil {
				return err
			}
		} else if err := w.user(&turns[i]); err != nil {
			return err
		}
	}
	return nil
}

// failed is what a result says first when the tool failed: the protocol has no flag for that.
const failed = "The tool reported an error."

// result writes a tool's result as a message. Its pictures and documents, which the protocol does not allow there, come
// in the user's message that follows: see user.
func (w *chatBody) result(b *Block) error {
	w.cached(b)
	var texts []string
	if b.IsError {
		texts = append(texts, failed)
	}
	for i := range b.Content {
		c := &b.Content[i]
		switch c.Kind {
		case Text:
			texts = append(texts, c.Text)
		case Image, Document, Audio:
			texts = append(texts, "(See the attachment in the next message.)")
		default:
			if text, ok := w.toolReference(c, chatNames); ok {
				texts = append(texts, text)
			} else if err := w.refuse(c.Path, "a tool's result cannot hold it"); err != nil {
				return err
			}
		}
	}
	w.message("tool")
	w.dst = field(w.dst, "tool_call_id", toolID(b.ID, chatIDs))
	w.dst = append(field(w.dst, "content", strings.Join(texts, "\n")), '}')
	return nil
}

// user writes what a user's turn says beside results of tools: a plain string where it is one text.
func (w *chatBody) user(turn *Turn) error {
	begin := len(w.dst)
	w.message("user")
	if turn.Name != "" {
		w.dst = field(w.dst, "name", turn.Name)
	}
	if len(turn.Blocks) == 0 { // as the client had it
		w.dst = append(field(w.dst, "content", ""), '}')
		return nil
	}
	if len(turn.Blocks) == 1 && turn.Blocks[0].Kind == Text && !w.hasBreakpoint(turn.Blocks) {
		w.cached(&turn.Blocks[0])
		w.dst = append(field(w.dst, "content", turn.Blocks[0].Text), '}')
		return nil
	}
	w.dst = append(key(w.dst, "content"), '[')
	empty := len(w.dst)
	for i := range turn.Blocks {
		if err := w.shown(&turn.Blocks[i]); err != nil {
			return err
		}
	}
	if len(w.dst) == empty {
		w.dst = w.dst[:begin]
	} else {
		w.dst = append(w.dst, "]}"...)
	}
	return nil
}

// shown writes the parts of one block: of a tool's result those that its message cannot hold, with a label.
func (w *chatBody) shown(b *Block) error {
	if b.Kind != ToolResult {
		return w.markedPart(b)
	}
	if w.orphan(b) {
		return nil
	}
	labelled := false
	for i := range b.Content {
		c := &b.Content[i]
		if c.Kind != Image && c.Kind != Document && c.Kind != Audio {
			continue
		}
		if !labelled {
			w.textPart("Attachment of the result of tool call " + toolID(b.ID, chatIDs) + ":")
			labelled = true
		}
		if err := w.part(c); err != nil {
			return err
		}
	}
	return nil
}

func (w *chatBody) textPart(text string) {
	w.dst = append(comma(w.dst), `{"type":"text"`...)
	w.dst = append(field(w.dst, "text", text), '}')
}

func (w *chatBody) part(b *Block) error {
	switch b.Kind {
	case Text:
		if b.Text != "" {
			w.textPart(b.Text)
		}
		return nil
	case Image:
		return w.image(b)
	case Document:
		return w.document(b)
	case Audio:
		return w.audio(b)
	}
	return w.refuse(b.Path, "the Chat Completions API has no such part")
}

func (w *chatBody) image(b *Block) error {
	m := b.Media
	if m.URL == "" && m.Data == "" {
		return w.refuse(b.Path, "pictures must be URLs or data there")
	}
	w.dst = append(comma(w.dst), `{"type":"image_url","image_url":{`...)
	w.source("url", m)
	if m.Detail != "" {
		w.dst = field(w.dst, "detail", m.Detail)
	}
	w.dst = append(w.dst, "}}"...)
	return nil
}

// source writes a URL, or the data as one.
func (w *chatBody) source(name string, m *Media) {
	if m.URL != "" {
		w.dst = field(w.dst, name, m.URL)
	} else {
		w.dst = appendDataURL(key(w.dst, name), m.Type, m.Data)
	}
}

func (w *chatBody) document(b *Block) error {
	about, err := w.about(b)
	if err != nil {
		return err
	}
	m := b.Media
	switch {
	case m.Text != "":
		w.textPart(about + m.Text)
		return nil
	case w.vllm:
		if text, ok := textOf(m); ok {
			w.textPart(about + text)
			return nil
		}
		return w.refuse(b.Path, "files are not supported there")
	case m.URL != "":
		return w.refuse(b.Path, "files must be data there, not URLs")
	case m.FileID != "" && w.Request.From == wire.Message:
		return w.refuse(b.Path, "the file is kept at another provider")
	}
	if strings.Contains(about, "\n\n") { // more than the name, which the file has
		w.textPart(strings.TrimSpace(about))
	}
	w.dst = append(comma(w.dst), `{"type":"file","file":{`...)
	if m.FileID != "" {
		w.dst = field(w.dst, "file_id", m.FileID)
	} else {
		w.dst = field(w.dst, "filename", fileName(m))
		w.source("file_data", m)
	}
	w.dst = append(w.dst, "}}"...)
	return nil
}

// about is what the model is told of a document before its text: its name, and what Anthropic calls its context. Another
// option is refused, unless it is off.
func (w *chatBody) about(b *Block) (about string, err error) {
	if b.Media.Name != "" {
		about = "[" + b.Media.Name + "]\n"
	}
	gjson.Parse(b.Raw).ForEach(func(k, v gjson.Result) bool {
		switch {
		case v.Type == gjson.Null || v.Get("enabled").Type == gjson.False:
		case k.Str == "context" && v.Type == gjson.String:
			about += v.Str + "\n\n"
		default:
			err = w.refuse(b.Path+"."+k.Str, "documents have no such option there")
		}
		return err == nil
	})
	return about, err
}

// fileName is a name with an extension, which OpenAI requires.
func fileName(m *Media) string {
	name, extension := m.Name, formatOf(m.Type)
	if name == "" {
		name = "document"
	}
	if extension != "" && mimeByName(name) == "" {
		name += "." + extension
	}
	return name
}

func (w *chatBody) audio(b *Block) error {
	format := formatOf(b.Media.Type)
	if b.Media.Data == "" || format == "" {
		return w.refuse(b.Path, "sounds must be data there, as wav or mp3")
	}
	w.dst = append(comma(w.dst), `{"type":"input_audio","input_audio":{`...)
	w.dst = field(w.dst, "data", b.Media.Data)
	w.dst = append(field(w.dst, "format", format), "}}"...)
	return nil
}

// answers writes the turns between two asks. Where tools are called in them they make one message: the results must follow
// the message that has the calls.
func (w *chatBody) answers(turns []Turn) error {
	calls := 0
	for i := range turns {
		for _, b := range turns[i].Blocks {
			if b.Kind == ToolUse {
				calls++
			}
		}
	}
	if calls > 0 {
		return w.answer(turns)
	}
	for i := range turns {
		if err := w.answer(turns[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// said is what an answer consists of in this protocol.
type said struct {
	texts    []string // of each turn
	thoughts []string
	calls    []*Block
}

func (w *chatBody) answer(turns []Turn) error {
	var s said
	for i := range turns {
		if err := w.gather(turns[i].Blocks, &s); err != nil {
			return err
		}
	}
	text := strings.Join(s.texts, "\n\n")
	if text == "" && len(s.calls) == 0 && (!w.vllm || len(s.thoughts) == 0) {
		return nil
	}
	w.message("assistant")
	if turns[0].Name != "" {
		w.dst = field(w.dst, "name", turns[0].Name)
	}
	if thoughts := strings.Join(s.thoughts, "\n\n"); thoughts != "" && w.vllm {
		// The name until vLLM 0.11 and of other engines, and that since: vllm-project/vllm#27755, #38488.
		w.dst = field(w.dst, "reasoning_content", thoughts)
		w.dst = field(w.dst, "reasoning", thoughts)
	}
	if text == "" && len(s.calls) > 0 {
		w.dst = rawField(w.dst, "content", "null")
	} else {
		w.dst = field(w.dst, "content", text)
	}
	w.calls(s.calls)
	w.dst = append(w.dst, '}')
	return nil
}

// gather sorts a turn's blocks. A refusal is text like any other: most servers know no member of that name. Thoughts are
// for the open engines only: OpenAI's Chat Completions takes none back.
func (w *chatBody) gather(blocks []Block, s *said) error {
	var text strings.Builder
	for i := range blocks {
		b := &blocks[i]
		w.cached(b)
		switch b.Kind {
		case Text, Refusal:
			text.WriteString(b.Text)
		case Thinking:
			if b.Text != "" {
				s.thoughts = append(s.thoughts, b.Text)
			}
		case ToolUse:
			s.calls = append(s.calls, b)
		default:
			if err := w.refuseBlock(b, "an answer cannot hold it"); err != nil {
				return err
			}
		}
	}
	if text.Len() > 0 {
		s.texts = append(s.texts, text.String())
	}
	return nil
}

func (w *chatBody) calls(list []*Block) {
	if len(list) == 0 {
		return
	}
	w.dst = append(key(w.dst, "tool_calls"), '[')
	for _, b := range list {
		w.dst = field(append(comma(w.dst), '{'), "id", toolID(b.ID, chatIDs))
		w.dst = append(w.dst, `,"type":"function","function":{`...)
		w.dst = field(w.dst, "name", w.toolName(b.Name, chatNames))
		input := b.Input
		if w.vllm { // its chat templates want an object, OpenAI's models just their own words
			input = w.callInput(b)
		}
		w.dst = append(field(w.dst, "arguments", input), "}}"...)
	}
	w.dst = append(w.dst, ']')
}
