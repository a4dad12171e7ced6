"""Files of many formats, checked and turned into one data set folder."""
