// What the phone page does beyond htmx: Enter sends, times are local, and focus is never lost.
"use strict";

function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    time.textContent = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    time.title = at.toLocaleString();
  }
}

document.addEventListener("keydown", (event) => {
  const isSending = event.key === "Enter" && !event.shiftKey && !event.isComposing;
  if (isSending && event.target instanceof HTMLTextAreaElement) {
    event.preventDefault();
    event.target.form.requestSubmit();
  }
});

document.addEventListener("htmx:afterSettle", (event) => {
  const target = event.detail.target;
  localTimes(document);
  // The button that was used is gone: go on in the text field of the same phone.
  const phone = target.closest?.(".phone");
  if (phone && document.activeElement === document.body) {
    phone.querySelector("textarea")?.focus({ preventScroll: true });
  }
});

// Screen readers are told of the text that has just arrived, and not of the whole conversation again.
document.addEventListener("htmx:afterSwap", (event) => {
  const slug = event.detail.target.id?.match(/^conversation-(.*)$/)?.[1];
  const received = event.detail.target.querySelectorAll(".received:not(.lost) .words");
  const live = slug && document.getElementById(`heard-${slug}`);
  if (live && received.length > Number(live.dataset.count ?? received.length)) {
    live.textContent = received[received.length - 1].textContent;
  }
  if (live) live.dataset.count = received.length;
});

localTimes(document);
