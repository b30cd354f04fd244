package tokens

// The kinds of characters that the estimate tells apart. Neighbours of one kind are a run.
const (
	smallLetter = iota
	capital
	digit
	blank
	lineEnd
	punctuation
	wideLetter // beyond ASCII
	han
	wideOther
	kinds

	longRun = 15
)

// The weights are in 256ths of a token of o200k_base. They were fitted with least squares of the relative error to 5,000 texts of
// some 40 kinds (English and Chinese prose and questions, source code, JSON, YAML, recorded streams, 20 other languages),
// none of which is one of the acceptance vectors. Taken together they estimate; one by one they mean little. Those of capitals, of
// which these texts have few, were moved to what English words in capitals cost.

// pairWeight is for a run of one kind after a run of another.
var pairWeight = [kinds][kinds]int16{
	{0, 121, 129, 162, 212, 167, -11, -68, 212},
	{230, 0, 257, 121, 326, 237, 46, -19, 36},
	{165, 280, 0, 118, 224, 75, 18, 36, 4},
	{215, 151, 306, 51, -219, 125, 3, 21, -24},
	{-1, 229, 174, 53, 0, -15, 225, -19, 39},
	{316, 255, 94, 298, -158, 0, 150, 111, 97},
	{-183, 5, 35, 227, 274, 272, 0, -19, -124},
	{33, 37, -1, 41, -36, 112, 12, 0, 3},
	{79, 82, 60, -198, 27, 53, 51, 45, 0},
}

// lengthWeight is for the length of a run in ASCII. Each character after longRun has sameWeight or otherWeight, by whether it is
// the one before; these are set by hand, as text has few such runs.
var lengthWeight = [wideLetter][longRun + 1]int16{
	smallLetter: {0, -72, -95, -127, -50, -26, -29, 40, 91, 144, 203, 194, 150, 138, 149, 144},
	capital:     {0, -15, 198, 136, 110, 170, 305, 400, 492, 542, 627, 647, 720, 720, 798, 800},
	digit:       {0, 288, 288, 288, 576, 576, 576, 864, 864, 864, 1152, 1152, 1152, 1440, 1440, 1440},
	blank:       {0, -87, 32, 70, 51, 37, 38, 28, 26, 62, 92, 89, 77, 75, 73, 52},
	lineEnd:     {0, 284, 199, 110, 62, 27, 6, -5, -9, -9, -7, -5, -3, -1, 0, 1},
	punctuation: {0, -40, 134, 3, 55, 150, 179, 161, 121, 78, 44, 23, 15, 19, 32, 52},
}

var (
	sameWeight  = [wideLetter]int16{smallLetter: 32, capital: 32, digit: 90, blank: 2, lineEnd: 16, punctuation: 24}
	otherWeight = [wideLetter]int16{smallLetter: 80, capital: 110, digit: 90, blank: 20, lineEnd: 64, punctuation: 150}
)

// leadWeight is for a character beyond ASCII, by the first byte of its UTF-8 (from 0xc0 on), which tells the script.
var leadWeight = [64]int16{
	0, 0, 305, 340, 480, 833, 128, 128, 128, 4, 169, 128, 128, 128, 104, 52,
	38, 132, 76, 128, 54, 110, 31, 114, 59, 84, 25, 128, 128, 128, 128, 128,
	128, 160, 65, 190, 224, 273, 240, 292, 256, 266, 230, 304, 389, 30, 256, 97,
	512, 512, 512, 512, 512,
}

const (
	startWeight  = 75   // for the beginning of a text, which no blank has paid for
	rareWeight   = 296  // for a Chinese character that is no token by itself
	joinsWeight  = -241 // for one that may be one token with the one before
	brokenWeight = 256  // for a byte that is no UTF-8
)
