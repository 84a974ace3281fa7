//go:build bug_transcript

package protocol

const bugTranscript = true
