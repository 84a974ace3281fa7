// Package flood runs the real signetd, with its default limits, while strangers do what
// they can, at every door and from many addresses, and holds it to what its honest devices
// and its operator are promised: logins, memory, nothing that stays behind.
// It also rehearses what an operator does beside such traffic: to replace the root that all
// devices believe.
//
// The strangers are a process of their own (this test's program, begun another way), so
// that what they hold ends with them.
package flood
