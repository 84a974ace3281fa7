//go:build !bug_transcript

package protocol

// bugTranscript is true only in the planted bug that the tests must catch: the transcript leaves out the opening message.
const bugTranscript = false
