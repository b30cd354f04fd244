package guard

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// broken does what is to be done about a request that is against the rule.
func (r *rule) broken(q *asked, what string) error {
	if r.action == flag {
		q.vault.flag(r.name)
		return nil
	}
	return r.refusal(what, nil)
}

func (k *checker) size(r *rule) {
	c := k.c
	for _, o := range []struct {
		name string
		n    int64
	}{{"max_bytes", c.MaxBytes}, {"max_chars", c.MaxChars}, {"max_messages", c.MaxMessages}, {"max_tools", c.MaxTools}} {
		if o.n < 0 {
			k.wrong(o.name, "must be at least 1")
		}
	}
	if c.MaxBytes == 0 && c.MaxChars == 0 && c.MaxMessages == 0 && c.MaxTools == 0 {
		k.wrong("max_bytes", "a guard of kind size needs this, max_chars, max_messages or max_tools")
	}
	most := [...]int64{c.MaxBytes, c.MaxChars, c.MaxMessages, c.MaxTools}
	r.whole = func(q *asked) error {
		for i, n := range [...]int64{int64(len(q.raw)), q.chars(), q.walk.turns, q.walk.tools} {
			if most[i] > 0 && (n > most[i] || i == 1 && q.walk.numbered) { // how many characters a token has, nobody knows here
				return r.broken(q, [...]string{"max_bytes", "max_chars", "max_messages", "max_tools"}[i])
			}
		}
		return nil
	}
}

// chars counts the characters of all texts.
func (q *asked) chars() (n int64) {
	w := &q.ways[asIs]
	for i := range q.walk.said {
		if s := &q.walk.said[i]; !s.plain {
			w.load(q.text(s), prose)
			n += int64(utf8.RuneCount(w.text))
		}
	}
	return n
}

func (k *checker) modality(r *rule) {
	modes := func(option string, names []string) (m mode) {
		for i, name := range names {
			if k.oneOf(fmt.Sprintf("%s[%d]", option, i), name, []string{"text", "image", "audio", "video", "file"}) {
				m |= modeNames[name]
			}
		}
		return m
	}
	allow, deny := modes("allow", k.c.Allow), modes("deny", k.c.Deny)
	if len(k.c.Allow) == 0 && len(k.c.Deny) == 0 {
		k.wrong("allow", "a guard of kind modality needs this or deny")
	}
	if k.c.Allow != nil {
		deny |= ^allow // and what nobody has heard of
	}
	r.whole = func(q *asked) error {
		if q.walk.modes&deny != 0 {
			return r.broken(q, "modality")
		}
		return nil
	}
}

// allowed looks whether a pattern matches each text. A request without any says the empty one.
func (r *rule) allowed(q *asked) error {
	none := true
	for parts := range q.walk.texts() {
		if !r.sees(&parts[0]) {
			continue
		}
		none = false
		// What is right of the parts together may be wrong of each: they are judged as the one text that they are.
		var raw []byte
		for i := range parts {
			raw = append(raw, q.text(&parts[i])...)
		}
		if err := r.allows(q, raw); err != nil {
			return err
		}
	}
	if none {
		return r.allows(q, nil)
	}
	return nil
}

func (r *rule) allows(q *asked, raw []byte) error {
	_, err := r.allowing(q.vault, prose).run(nil, raw, true)
	return err
}

// sign is something that attempts to take over a prompt say.
type sign struct {
	weight float64
	words  []string // one of them stands in every match, in small letters
	expr   string
}

// signs are scored per text; each counts once. A plain attempt scores 1 by itself. What people ask about such attempts
// shares their words, so single words weigh little or nothing.
var signs = []sign{
	{1, []string{"ignore", "disregard", "forget", "override", "bypass", "overlook"},
		`\b(?:ignore|disregard|forget|override|bypass|overlook)\b(?:\W+\w+){0,4}?\W+(?:previous|prior|above|earlier|preceding|former|existing|original|system|developer|safety|all|any|your|my|the)\b(?:\W+\w+){0,3}?\W+(?:instructions?|prompts?|rules|directives?|guidelines|guardrails|restrictions|programming|system\s+messages?)\b`},
	{1, []string{"system prompt", "hidden prompt", "initial prompt", "initial instructions", "hidden instructions", "system instructions", "system message"},
		`\b(?:reveal|print|show|repeat|output|display|leak|tell\s+me|give\s+me|write\s+out|dump|expose|what\s+(?:is|are|was|were))\b(?:\W+\w+){0,6}?\W+(?:your|the|this)\W+(?:\w+\W+){0,2}?(?:system\s+(?:prompt|instructions|message)|(?:hidden|initial)\s+(?:prompt|instructions))\b`},
	{1, []string{"do anything now", "jailbroken", "developer mode", "dan mode", " dan", "god mode", "unrestricted mode", "jailbreak mode"},
		`\b(?:you\s+(?:are|will\s+be|can)\s+(?:now\s+)?(?:dan\b|jailbroken|do(?:ing)?\s+anything\s+now)|(?:enable|enter|activate|switch\s+to|now\s+in|you\s+are\s+in)\W+(?:\w+\W+){0,2}?(?:developer|dan|god|unrestricted|jailbreak)\s+mode|do\s+anything\s+now)`},
	{1, []string{"<|im_start|>", "<|im_end|>", "<<sys>>", "[inst]", "<|system|>", "<|start_header_id|>", "<|eot_id|>", "<start_of_turn>"},
		`<\|im_start\|>\s*(?:system|assistant|developer)|<\|(?:im_end|eot_id)\|>\s*<\||<<sys>>|\[/?inst\]\s*<<|<\|(?:system|start_header_id)\|>|<start_of_turn>`},
	{0.7, []string{"you are no longer", "you are now", "pretend", "act as", "from now on"},
		`\b(?:from\s+now\s+on|you\s+are\s+now|you\s+are\s+no\s+longer|pretend|act\s+as)\b(?:\W+\w+){0,12}?\W+(?:no|without|not\s+bound\s+by|free\s+(?:of|from)|ignor\w+|unfiltered|uncensored|unrestricted)\b(?:\W+\w+){0,3}?\W*(?:rules|restrictions?|limits|limitations|filters?|guidelines|ethics|polic(?:y|ies)|ai|assistant|model|bot)?\b`},
	{0.5, []string{"new instructions", "real instructions", "updated instructions", "### system", "### instruction", "system override"},
		`(?m)^\W*(?:new|real|updated|actual)\s+instructions?\s*:|^#+\s*(?:system|instructions?)\b|\bsystem\s+override\b`},
	{0.5, []string{"do not tell", "don't tell", "do not mention", "without telling", "do not reveal this", "don't mention"},
		`\b(?:do\s+not|don't|without)\s+(?:tell(?:ing)?|mention(?:ing)?|reveal(?:ing)?)\b(?:\W+\w+){0,3}?\W+(?:user|human|anyone|this\s+instruction|these\s+instructions)\b`},
	{1, []string{"忽略", "无视", "忘记", "忘掉", "不要理会", "不用理会", "抛弃", "绕过", "覆盖", "忽视", "無視", "忘記"},
		`(?:忽略|无视|無視|忽视|忘记|忘記|忘掉|不要理会|不用理会|抛弃|绕过|覆盖)[^。！？!?\n]{0,12}?(?:之前|以上|上面|上述|前面|先前|所有|全部|一切|此前|你的|系统|原有|原来|开发者|安全)[^。！？!?\n]{0,10}?(?:指令|指示|提示词?|规则|命令|要求|设定|限制|约束|指引|规定)`},
	{1, []string{"提示词", "系统提示", "系统指令", "初始指令", "隐藏指令", "系统消息"},
		`(?:输出|显示|打印|告诉我|泄露|泄漏|重复|复述|展示|给我看|写出|透露|说出|公开)[^。！？!?\n]{0,12}?(?:你的|系统|完整|原始|初始|隐藏|上面|以上)[^。！？!?\n]{0,6}?(?:提示词|系统提示|系统指令|初始指令|隐藏指令|系统消息)`},
	{0.7, []string{"现在开始", "从现在起", "你现在是", "你不再是", "假装", "扮演"},
		`(?:从?现在(?:开始|起)|你现在是|你不再是|假装|扮演)[^。！？!?\n]{0,24}?(?:没有|不受|无视|摆脱|解除)[^。！？!?\n]{0,10}?(?:限制|约束|规则|道德|审查|过滤|规定)`},
	{1, []string{"开发者模式", "越狱模式", "dan模式", "无限制模式", "上帝模式"},
		`(?:进入|开启|启用|激活|切换到?)[^。！？!?\n]{0,6}?(?:开发者模式|越狱模式|dan模式|无限制模式|上帝模式)`},
	{0.5, []string{"新的指令", "新指令", "真正的指令"}, `(?m)^\W*(?:新的?指令|真正的指令)\s*[:：]`},
	{0.5, []string{"不要告诉", "别告诉"}, `(?:不要|别)告诉(?:用户|任何人|他们)`},
}

func (k *checker) injection(r *rule) {
	threshold := k.c.Threshold
	if threshold == 0 {
		threshold = 1
	}
	if threshold < 0.1 || threshold > 10 {
		k.wrong("threshold", "from 0.1 to 10")
	}
	found := make([]*pattern, len(signs))
	for i, s := range signs {
		p, err := compile(`(?i)`+s.expr, folded)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		found[i] = p
	}
	r.whole = func(q *asked) error {
		for parts := range q.walk.texts() {
			if !r.sees(&parts[0]) {
				continue
			}
			if score := q.score(parts, found); score >= threshold {
				return r.broken(q, fmt.Sprintf("score %.1f", score))
			}
		}
		return nil
	}
}

// score adds up the signs in a text, whatever parts it comes in.
func (q *asked) score(parts []said, found []*pattern) (score float64) {
	w := &q.ways[folded]
	w.look = folded
	if len(parts) == 1 {
		w.load(q.text(&parts[0]), parts[0].form)
	} else {
		w, _ = q.join(parts, folded)
	}
	low := bytes.ToLower(w.text)
	for i := range signs {
		for _, word := range signs[i].words {
			if bytes.Contains(low, []byte(word)) {
				if m, _, _ := found[i].matcher(false).find(low, 0, true); m.end > 0 {
					score += signs[i].weight
				}
				break
			}
		}
	}
	return score
}
