package ragplug

import (
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"jarvis-gateway/proxy/tokens"
)

// This file cuts documents into passages: first at headings, which every passage below them remembers, then where a reader would
// pause, at the end of a paragraph rather than of a sentence, and of a sentence rather than of a line. Every byte of a document is in
// some passage.

// passage is a part of a document.
type passage struct {
	document   uint32
	start, end uint32 // of the document's text
	line       uint32 // in which it begins, from 1
	tokens     uint32
	title      string // the headings above it, outermost first
	heading    string // the last of these
	alike      uint64 // a digest of its words: the same text in another place has the same
}

// section is what stands below one heading.
type section struct {
	start, end     int
	title, heading string
}

// pause is how good a place is to stop.
type pause uint8

const (
	anywhere pause = iota // the end of a line, or where a word had to be cut off
	sentence
	paragraph
)

// piece is the least that passages are made of.
type piece struct {
	start, end, tokens int
	pause              pause // at its end
}

// cutter cuts one document.
type cutter struct {
	text          string
	most, overlap int // tokens of a passage
	pieces        []piece
}

// cut is the document's passages, in order.
func cut(text string, markdown bool, c Chunk) []passage {
	k := &cutter{text: text, most: c.size(), overlap: c.overlap()}
	var list []passage
	line, seen := 1, 0
	for _, s := range sections(text, markdown) {
		for _, p := range k.section(s) {
			if at := int(p.start); at >= seen {
				line += strings.Count(text[seen:at], "\n")
			} else { // it begins in the one before
				line -= strings.Count(text[at:seen], "\n")
			}
			seen, p.line = int(p.start), uint32(line)
			list = append(list, p)
		}
	}
	return list
}

// sections cuts at Markdown's headings. A heading with nothing but another heading below it stands with that.
func sections(text string, markdown bool) []section {
	if !markdown {
		return []section{{end: len(text)}}
	}
	var list []section
	var above [6]string
	current, hollow, fence := section{}, true, ""
	at := 0
	for line := range strings.Lines(text) {
		if fence == "" {
			if level, heading := headingOf(line); level > 0 {
				if !hollow {
					current.end = at
					list = append(list, current)
					current = section{start: at}
				}
				above[level-1] = heading
				clear(above[level:])
				current.title, current.heading = titleOf(above[:level]), heading
				hollow = true
				at += len(line)
				continue
			}
		}
		fence = fenced(fence, line)
		hollow = hollow && strings.TrimSpace(line) == ""
		at += len(line)
	}
	current.end = len(text)
	return append(list, current)
}

// headingOf reads a line like "## Leave ##"; level is 0 for any other.
func headingOf(line string) (level int, heading string) {
	line = strings.TrimRight(line, " \t\r\n")
	text := strings.TrimLeft(line, " ")
	if len(line)-len(text) > 3 {
		return 0, ""
	}
	for level < len(text) && text[level] == '#' {
		level++
	}
	if level == 0 || level > 6 || level < len(text) && text[level] != ' ' && text[level] != '\t' {
		return 0, ""
	}
	heading = strings.TrimSpace(text[level:])
	if closed := strings.TrimRight(heading, "#"); closed == "" || closed != heading && strings.HasSuffix(closed, " ") {
		heading = strings.TrimSpace(closed)
	}
	return level, clip(heading, longestTitle/2)
}

// fenced is the fence of the code block that goes on behind a line, "" for none.
func fenced(fence, line string) string {
	text := strings.TrimLeft(line, " ")
	for _, mark := range []string{"```", "~~~"} {
		if !strings.HasPrefix(text, mark) {
			continue
		}
		run := text[:len(text)-len(strings.TrimLeft(text, mark[:1]))]
		switch {
		case fence == "":
			return run
		case strings.HasPrefix(run, fence) && strings.TrimSpace(text[len(run):]) == "":
			return ""
		}
	}
	return fence
}

const longestTitle = 200 // bytes: a title stands above each of its passages

func titleOf(above []string) string {
	var title strings.Builder
	for _, heading := range above {
		if heading == "" {
			continue
		}
		if title.Len() > 0 {
			title.WriteString(" > ")
		}
		title.WriteString(heading)
	}
	return clip(title.String(), longestTitle)
}

// clip is the beginning of a text.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// section is the passages of one section.
func (k *cutter) section(s section) (list []passage) {
	k.pieces = k.pieces[:0]
	k.split(s.start, s.end)
	for first, done := 0, 0; done < len(k.pieces); {
		end := k.fill(first, done)
		if end <= done { // what it repeats leaves no room for more
			first++
			continue
		}
		p := passage{start: uint32(k.pieces[first].start), end: uint32(k.pieces[end-1].end), title: s.title, heading: s.heading}
		p.tokens = uint32(k.count(int(p.start), int(p.end)))
		list = append(list, p)
		first, done = k.repeat(first, end), end
	}
	return list
}

// fill is how far a passage goes that begins with a piece: it stops where the best pause is that leaves it not too short. done are
// the pieces that passages have already.
func (k *cutter) fill(first, done int) int {
	sum, end := 0, first
	var stops [paragraph + 1]int
	for end < len(k.pieces) && sum+k.pieces[end].tokens <= k.most {
		sum += k.pieces[end].tokens
		end++
		if at := k.pieces[end-1].pause; end > done && (at == paragraph && sum > k.most/2 || at == sentence && sum > k.most*3/4) {
			stops[at] = end
		}
	}
	if end < len(k.pieces) {
		switch {
		case stops[paragraph] > 0:
			end = stops[paragraph]
		case stops[sentence] > 0:
			end = stops[sentence]
		}
	}
	for end > first+1 && k.count(k.pieces[first].start, k.pieces[end-1].end) > k.most {
		end-- // tokens may go over the joints
	}
	return end
}

// repeat is the piece with which the passage behind one begins.
func (k *cutter) repeat(first, end int) int {
	sum := 0
	for end > first+1 && sum+k.pieces[end-1].tokens <= k.overlap {
		end--
		sum += k.pieces[end].tokens
	}
	return end
}

// split cuts a part of the text into pieces.
func (k *cutter) split(start, end int) {
	for start < end {
		stop, at := nextPause(k.text[start:end])
		k.add(start, start+stop, at)
		start += stop
	}
}

// add adds a piece, or several of one that is too long.
func (k *cutter) add(start, end int, at pause) {
	for {
		n := k.count(start, end)
		if n <= k.most {
			k.pieces = append(k.pieces, piece{start, end, n, at})
			return
		}
		stop := k.chop(start, end, n)
		k.pieces = append(k.pieces, piece{start, stop, k.count(start, stop), anywhere})
		start = stop
	}
}

// chop is where to cut off as much as a passage may have, between words if there are any.
func (k *cutter) chop(start, end, n int) int {
	for size := (end - start) * k.most / n; ; size -= size/4 + 1 {
		stop := start + max(size, 1)
		for stop > start && !utf8.RuneStart(k.text[stop]) {
			stop--
		}
		if stop == start { // one character, whatever it counts
			_, width := utf8.DecodeRuneInString(k.text[start:])
			return start + width
		}
		if space := strings.LastIndexAny(k.text[start:stop], " \t\n,;，、；：|"); space > (stop-start)/2 {
			_, width := utf8.DecodeRuneInString(k.text[start+space:])
			stop = start + space + width
		}
		if k.count(start, stop) <= k.most {
			return stop
		}
	}
}

func (k *cutter) count(start, end int) int { return estimate(k.text[start:end]) }

// estimate copies nothing: of a long text it is quick only because most of that is not looked at.
func estimate(text string) int {
	return tokens.Estimate(unsafe.Slice(unsafe.StringData(text), len(text)))
}

// nextPause is where the first pause of a text is, with the white space behind it.
func nextPause(text string) (end int, at pause) {
	for i := 0; i < len(text); {
		r, width := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, width = utf8.DecodeRuneInString(text[i:])
		}
		i += width
		switch r {
		case '\n':
			return behind(text, i-1, anywhere)
		case '。', '！', '？', '；', '…':
			return behind(text, closing(text, i), sentence)
		case '.', '!', '?':
			if i = closing(text, i); i == len(text) || text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r' {
				return behind(text, i, sentence)
			}
		}
	}
	return len(text), paragraph
}

// closing is behind the marks that close a quotation or end the sentence once more.
func closing(text string, i int) int {
	rest := strings.TrimLeft(text[i:], "。！？…!?.\"'”’」』）)]】》")
	return len(text) - len(rest)
}

// behind is the end of the white space at i, and how good a pause it makes.
func behind(text string, i int, at pause) (int, pause) {
	rest := strings.TrimLeftFunc(text[i:], unicode.IsSpace)
	end := len(text) - len(rest)
	if end == len(text) || strings.Count(text[i:end], "\n") > 1 {
		at = paragraph
	}
	return end, at
}
