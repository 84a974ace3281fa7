// Package bench measures Signet against what its parts cost by themselves: each
// figure is a ratio of two things that ran in turn in the same process, so that
// a busy machine slows both. Absolute figures are printed and never judged.
//
// It asserts nothing about time.
package bench
