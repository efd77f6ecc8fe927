package sigv4

// Seams for tests.
var (
	AppendStamp = appendStamp
	ParseStamp  = parseStamp
)
