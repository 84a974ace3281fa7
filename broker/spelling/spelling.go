// Package spelling finds the word that somebody meant. It knows no words of its own.
package spelling

// Nearest gives the word of known that is closest to s, if it is close enough to be
// meant: with less than half of s's letters and one to be changed. Empty: none is.
func Nearest(s string, known []string) string {
	best, least := "", len(s)/2+1
	for _, k := range known {
		if d := Distance(s, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// Distance is Levenshtein's, in bytes.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			last, row[j+1] = row[j+1], min(last+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
